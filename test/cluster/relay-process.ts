/**
 * A relay as a program of its own, for a network namespace that the test is not in:
 *
 *   node relay-process.ts SOCKET PORT      carries 127.0.0.1:PORT (0: any) to the unix socket, until it is ended
 *
 * Its first line of output is the port.
 */
import { startRelay } from './relay.ts';

const [path = '', port = '0'] = process.argv.slice(2);
const relay = await startRelay({ host: '127.0.0.1', port: Number(port) }, { path });
process.stdout.write(`${relay.port}\n`);
