// Runs a command by Kubernetes' client for JavaScript: exec.mjs CLIENT SERVER COMMAND..., with standard input and
// output; ends with the command's exit code. On a terminal where TERMINAL says how large, COLUMNSxROWS.
const [client, server, ...command] = process.argv.slice(2);
const { KubeConfig, Exec } = await import(client);
const config = new KubeConfig();
config.loadFromClusterAndUser({ name: 'c', server, skipTLSVerify: true }, { name: 'u' });
const ended = (status) => {
  const cause = status.details?.causes?.find((cause) => cause.reason === 'ExitCode');
  console.error(status.status, status.reason ?? '');
  process.exitCode = status.status === 'Success' ? 0 : Number(cause?.message ?? 99);
};
const { stdin, stdout, stderr } = process;
const size = process.env.TERMINAL?.split('x').map(Number);
if (size) [stdout.columns, stdout.rows] = size;
await new Exec(config).exec('default', 'pod', 'c', command, stdout, size ? null : stderr, stdin, !!size, ended);
