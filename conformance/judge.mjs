// The rules of cases.json, put to a bot: what a router would send, and whether what came
// back is what the contract (docs/bots.md) allows. conformance.go does the same in Go.
import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';

export const cases = JSON.parse(readFileSync(new URL('cases.json', import.meta.url), 'utf8'));

const signed = ['Event', 'Call', 'App', 'Tenant', 'Partition', 'Epoch', 'Callback-Uri', 'Deadline'];

// request writes one hand-over as a router would.
function request(step, ids, secret) {
  const call = (ids[step.call] ??= randomUUID().replaceAll('-', ''));
  const fill = (text) => text.replaceAll('{call}', call).replaceAll('{event}', step.says ?? step.event).replaceAll('{pad}', 'x'.repeat(step.pad ?? 0));
  const body = fill(JSON.stringify(cases.bodies[step.body]));
  const epoch = step.epoch ?? 1;
  const headers = {
    'Content-Type': 'application/json', 'X-Microsoft-Skype-Message-ID': randomUUID(), 'X-Microsoft-Skype-Chain-ID': randomUUID(),
    'Tandem-Event': step.event, 'Tandem-Call': call, 'Tandem-App': '0efc74f7-41c3-47a4-8775-7259bfef4241',
    'Tandem-Tenant': '8986d25d-ed3f-4bb8-b739-14d2fcc37b09', 'Tandem-Partition': '24', 'Tandem-Epoch': String(epoch),
    'Tandem-Callback-Uri': `https://emea.bot.example.com/api/calls/emea/24/${epoch}/${call}?s=x`,
  };
  if (step.deadline) headers['Tandem-Deadline'] = new Date(Date.now() + step.deadline).toISOString();
  if (cases.bodies[step.body].event) delete headers['X-Microsoft-Skype-Message-ID']; // Tandem's own events have none
  for (const [name, value] of Object.entries(step.headers ?? {})) headers[name] = fill(value);
  if (secret && step.sign !== 'none') {
    const unix = Math.floor(Date.now() / 1000) - (step.sign === 'old' ? 3600 : 0);
    const mac = createHmac('sha256', step.sign === 'wrong' ? secret + '!' : secret);
    mac.update(unix + '\n' + signed.map((n) => (headers['Tandem-' + n] ?? '') + '\n').join('')).update(body);
    headers['Tandem-Signature'] = `t=${unix},v1=${mac.digest('hex')}`;
  }
  return { method: 'POST', headers, body, redirect: 'manual' };
}

// send makes one request; a reply that never came has status 0 and says why.
async function send(url, init) {
  const begun = performance.now();
  try {
    const res = await fetch(url, { ...init, signal: AbortSignal.timeout(10_000) });
    const body = await res.text();
    return { status: res.status, body, took: performance.now() - begun };
  } catch (err) {
    return { status: 0, body: '', took: performance.now() - begun, why: err.cause?.message || err.message };
  }
}

const isObject = (v) => typeof v === 'object' && v !== null && !Array.isArray(v);
const reasons = ['', 'none', 'busy', 'forbidden'];

function parsed(body) {
  try { return JSON.parse(body); } catch { return undefined; }
}

// decision returns what a reply to a new call decides, or throws what is wrong with it.
export function decision(body) {
  if (body.trim() === '') return 'none';
  const said = parsed(body);
  if (!isObject(said)) throw new Error('the reply is no JSON object');
  const keys = Object.keys(said);
  const strange = keys.filter((k) => k !== 'answer' && k !== 'reject');
  if (strange.length > 0) throw new Error(`the reply has a member «${strange[0]}» that Tandem does not know`);
  if (keys.length !== 1) throw new Error('the reply must say either "answer" or "reject"');
  if ('reject' in said) {
    if (!isObject(said.reject) || !reasons.includes(said.reject.reason ?? '')) throw new Error('"reject" is no object with a reason of none, busy, forbidden');
    return 'reject ' + (said.reject.reason || 'none');
  }
  const a = said.answer;
  if (!isObject(a)) throw new Error('"answer" is no object');
  if (!Array.isArray(a.acceptedModalities) || !isObject(a.mediaConfig)) throw new Error('"answer" needs acceptedModalities, a list, and mediaConfig, an object');
  return 'answer';
}

// health throws what is wrong with a health reply's body.
export function health(body) {
  if (body.trim() === '') return;
  const said = parsed(body);
  if (!isObject(said)) throw new Error('the health reply is no JSON object');
  const { load = 0, capacity = 0, draining = false, version = '' } = said;
  if (typeof load !== 'number' || load < 0 || load > 1) throw new Error('"load" is no number from 0 to 1');
  if (!Number.isInteger(capacity) || capacity < 0) throw new Error('"capacity" is no whole number from 0');
  if (typeof draining !== 'boolean') throw new Error('"draining" is neither true nor false');
  if (typeof version !== 'string' || !/^([A-Za-z0-9][A-Za-z0-9._+-]{0,63})?$/.test(version) || version.endsWith('\n')) throw new Error('"version" is not of 1 to 64 letters, digits and ._+-, a letter or digit first');
}

function allowed(status, list) {
  return list.some((a) => a === String(status) || (a.endsWith('xx') && a[0] === String(status)[0] && status > 99));
}

// meets returns what is wrong with a reply, or nothing.
function meets(want, got, before) {
  if (got.status === 0) return `there was no reply: ${got.why}`;
  if (want.status && !allowed(got.status, want.status)) return `the status is ${got.status}, not ${want.status.join(' or ')}`;
  if (want.within && got.took > want.within) return `the reply took ${Math.round(got.took)} ms, at most ${want.within}`;
  try {
    if (want.reply === 'decision') decision(got.body);
    if (want.reply === 'health') health(got.body);
    if (want.reply === 'same' && said(got) !== said(before)) return `the reply is another one than the first time: ${said(got)}, first ${said(before)}`;
  } catch (err) {
    return err.message;
  }
}

function said(got) {
  try { return decision(got.body); } catch { return 'no decision'; }
}

// judge puts one rule to the bot: { id, title, verdict: ok | failed | skipped, why, fix }.
async function judge(rule, target) {
  const calls = [];
  try {
    return await steps(rule, target, calls);
  } finally { // the bot is left as it was found
    const over = { event: 'update', call: 'it', body: 'terminated' };
    await Promise.all(calls.flatMap((ids) => Object.values(ids)).map((id) => send(target.url, request(over, { it: id }, target.secret))));
  }
}

async function steps(rule, { url, healthURL, secret }, calls) {
  const result = { id: rule.id, title: rule.title };
  if (rule.needs === 'secret' && !secret) return { ...result, verdict: 'skipped', why: 'it needs a secret' };
  const fail = (n, why) => ({ ...result, verdict: 'failed', why: `step ${n + 1} of ${rule.steps.length}: ${why}`, fix: rule.fix });
  const ids = {};
  calls.push(ids);
  let init, before;
  for (const [n, step] of rule.steps.entries()) {
    let got;
    if (step.health) {
      if (!healthURL) return { ...result, verdict: 'skipped', why: 'it needs a health address' };
      got = [await send(healthURL, { method: 'GET', redirect: 'manual' })];
    } else if (step.copies) {
      got = await Promise.all(Array.from({ length: step.copies }, () => {
        const own = {};
        calls.push(own);
        return send(url, request(step, own, secret));
      }));
    } else {
      init = step.again ? init : request(step, ids, secret);
      got = [await send(url, init)];
    }
    for (const g of got) {
      const why = meets(step.want, g, before);
      if (why) return fail(n, why);
    }
    before = got[0];
  }
  return { ...result, verdict: 'ok' };
}

// run puts rules to a bot, one after the other.
export async function run(target, rules = cases.rules) {
  const verdicts = [];
  for (const rule of rules) verdicts.push(await judge(rule, target));
  return verdicts;
}
