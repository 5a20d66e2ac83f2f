// PeerJS's server as its documentation starts it; silent sockets are not ended while the benchmark measures.
import { PeerServer } from 'peer';

PeerServer({ host: '127.0.0.1', port: 0, path: '/', alive_timeout: 3_600_000 }, (server) => {
  console.log(JSON.stringify({ port: server.address().port }));
});
process.stdin.on('end', () => process.exit(0)).resume();
