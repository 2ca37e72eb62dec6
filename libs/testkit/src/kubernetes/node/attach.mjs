// Attaches by Kubernetes' client for JavaScript: attach.mjs CLIENT SERVER TEXT, with standard input and output; ends when
// TEXT has come.
import { PassThrough } from 'node:stream';
const [client, server, text] = process.argv.slice(2);
const { KubeConfig, Attach } = await import(client);
const config = new KubeConfig();
config.loadFromClusterAndUser({ name: 'c', server, skipTLSVerify: true }, { name: 'u' });
let got = '';
const output = new PassThrough();
output.on('data', (piece) => {
  got += piece;
  if (got.includes(`${text}\n`)) process.stdout.write(got, () => process.exit(0));
});
// Its end would be that of the connection, whatever is still to come.
const input = process.stdin.pipe(new PassThrough(), { end: false });
await new Attach(config).attach('default', 'pod', 'c', output, process.stderr, input, false);
