#!/usr/bin/env node
// Does a bot keep the contract of Tandem's bot door? See docs/bots.md.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { parseArgs } from 'node:util';
import { run } from './judge.mjs';

const usage = `usage: tandem-conformance URL [--health URL] [--secret-file FILE] [--json]

POSTs to the bot at URL what a router would, and judges the replies by the rules of
cases.json. Exit code 0: all are kept, 1: one is not, 2: wrong words, 4: nobody listens.`;

function leave(code, text) {
  console.error(text);
  process.exit(code);
}

let args;
try {
  args = parseArgs({ allowPositionals: true, options: { health: { type: 'string' }, 'secret-file': { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } });
} catch (err) {
  leave(2, `${err.message}\n${usage}`);
}
if (args.values.help) {
  console.log(usage);
  process.exit(0);
}
let bot, secret;
try {
  [bot] = args.positionals.map((u) => new URL(u));
  if (args.positionals.length !== 1) throw new Error('name one URL of a bot');
  if (args.values.health) new URL(args.values.health);
  if (args.values['secret-file']) secret = readFileSync(args.values['secret-file'], 'utf8').trim();
} catch (err) {
  leave(2, `${err.message}\n${usage}`);
}

// A bot that was just started gets a moment to listen.
async function listens(u, until = Date.now() + 5000) {
  for (;;) {
    const there = await new Promise((done) => {
      const s = connect({ host: u.hostname.replace(/^\[|\]$/g, ''), port: u.port || (u.protocol === 'https:' ? 443 : 80) }, () => { s.end(); done(true); });
      s.on('error', () => done(false));
    });
    if (there || Date.now() > until) return there;
    await new Promise((r) => setTimeout(r, 100));
  }
}
if (!(await listens(bot))) leave(4, `nobody listens at ${bot}: start the bot first`);

const verdicts = await run({ url: bot.href, healthURL: args.values.health, secret });
const failed = verdicts.filter((v) => v.verdict === 'failed');
if (args.values.json) {
  console.log(JSON.stringify(verdicts, null, 2));
} else {
  for (const v of verdicts) {
    console.log(`${v.verdict.padEnd(8)}${v.id.padEnd(24)}${v.title}`);
    if (v.why) console.log(`${' '.repeat(8)}${v.why}`);
    if (v.fix) console.log(`${' '.repeat(8)}→ ${v.fix}`);
  }
  const kept = verdicts.filter((v) => v.verdict === 'ok').length;
  console.log(failed.length === 0 ? `\nThe bot keeps the contract: ${kept} rules.` : `\n${failed.length} of ${verdicts.length} rules are broken.`);
}
process.exitCode = failed.length === 0 ? 0 : 1;
