// A bot beside a Tandem node, in plain Node 18 or newer: node bot.mjs [PORT].
// The contract is docs/bots.md; BOT_SECRET is what stands in the node's bot.secret_file.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const capacity = 50;
const calls = new Map(); // the calls that are here, by Tandem-Call
const answer = { answer: { acceptedModalities: ['audio'], mediaConfig: { '@odata.type': '#microsoft.graph.serviceHostedMediaConfig' } } };

// handle is the bot: what comes back is the reply's body, or a status.
async function handle(event, id, body) {
  const call = calls.get(id);
  switch (event) {
    case 'incoming': calls.set(id, call ?? newCall()); return answer; // twice: the same reply, one call
    case 'adopted': calls.set(id, call ?? newCall()); return body.call.state === 'claimed' ? answer : 202;
    case 'rejoin': calls.set(id, call ?? newCall()); return 202; // join body.call.thread's meeting anew here
    case 'lost': calls.delete(id); return 202; // another node's now: let go, do nothing at Graph
    case 'update': if (body.event === 'confirm') return call ? 202 : 410; // does it live?
  }
  if (body.value?.some((n) => ends(n, id))) calls.delete(id);
  return body.value?.some((n) => typeOf(n).endsWith('participantJoiningNotification')) ? { '@odata.type': '#microsoft.graph.acceptJoinResponse' } : 202;
}

const newCall = () => ({ done: new Map() });
const typeOf = (n) => n.resourceData?.['@odata.type'] ?? '';

// ends: does the notification tell of the end of this call, and not of one of its operations?
function ends(n, id) {
  const of = /\/calls\/([^/]+)$/.exec(n.resource ?? n.resourceUrl ?? '')?.[1].replaceAll('-', '').toLowerCase();
  return of === id && (n.changeType?.toLowerCase() === 'deleted' || n.resourceData?.state?.toLowerCase() === 'terminated');
}

// inTurn does a call's work one after the other, and what has a message id once.
const turns = new Map();
function inTurn(id, message, work) {
  const before = turns.get(id) ?? Promise.resolve();
  const now = before.catch(() => {}).then(async () => {
    const done = calls.get(id)?.done;
    if (message && done?.has(message)) return done.get(message);
    const reply = await work();
    if (message) calls.get(id)?.done.set(message, reply);
    return reply;
  });
  turns.set(id, now);
  now.catch(() => {}).finally(() => turns.get(id) === now && turns.delete(id));
  return now;
}

const signed = ['event', 'call', 'app', 'tenant', 'partition', 'epoch', 'callback-uri', 'deadline'];
function fromRouter(h, body) {
  if (!process.env.BOT_SECRET) return true;
  const [, unix, hex] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(h['tandem-signature'] ?? '') ?? [];
  if (!hex || Math.abs(Date.now() / 1000 - unix) > 300) return false;
  const mac = createHmac('sha256', process.env.BOT_SECRET).update(unix + '\n' + signed.map((n) => (h['tandem-' + n] ?? '') + '\n').join(''));
  return timingSafeEqual(mac.update(body).digest(), Buffer.from(hex, 'hex'));
}

createServer(async (req, res) => {
  const say = (status, body) => res.writeHead(status, { 'Content-Type': 'application/json' }).end(body && JSON.stringify(body));
  if (req.method === 'GET') return say(200, { load: Math.min(1, calls.size / capacity), capacity, draining: false });
  const chunks = [];
  for await (const c of req) chunks.push(c);
  const raw = Buffer.concat(chunks), h = req.headers;
  if (!fromRouter(h, raw)) return say(401);
  try {
    const reply = await inTurn(h['tandem-call'], h['x-microsoft-skype-message-id'], () => handle(h['tandem-event'], h['tandem-call'], JSON.parse(raw)));
    return typeof reply === 'number' ? say(reply) : say(200, reply);
  } catch (err) {
    console.error(err);
    return say(500); // it comes again
  }
}).listen(process.argv[2] ?? 9442, '127.0.0.1', () => console.log('the bot listens'));
