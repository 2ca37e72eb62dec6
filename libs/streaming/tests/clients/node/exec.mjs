// Runs a command by Kubernetes' client for JavaScript: exec.mjs CLIENT SERVER COMMAND..., with standard input and
// output; ends with the command's exit code.
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
await new Exec(config).exec('default', 'pod', 'c', command, stdout, stderr, stdin, false, ended);
