// Forwards a port by Kubernetes' client for JavaScript: forward.mjs CLIENT SERVER PORT TEXT, from standard input and to
// standard output; ends when TEXT has come.
import { PassThrough } from 'node:stream';
const [client, server, port, text] = process.argv.slice(2);
const { KubeConfig, PortForward } = await import(client);
const config = new KubeConfig();
config.loadFromClusterAndUser({ name: 'c', server, skipTLSVerify: true }, { name: 'u' });
let got = '';
const output = new PassThrough();
output.on('data', (piece) => {
  got += piece;
  if (got.includes(text)) process.stdout.write(got, () => process.exit(0));
});
// Its end would be that of the connection, whatever is still to come.
const input = process.stdin.pipe(new PassThrough(), { end: false });
await new PortForward(config, true).portForward('default', 'pod', [Number(port)], output, process.stderr, input);
