// The list of jobs: kept current by the stream, continued while one scrolls, chosen from by mouse or key.
import { bulk } from './bulk.js';
import { fetchPage, refreshParts } from './parts.js';
import { follow } from './stream.js';
import { showTimes } from './times.js';
import { windowed } from './window.js';

// so many new jobs in a second are put in place by themselves, and so many in all; of more one is told
const FEW = 6;
const MOST_ON_TOP = 200;
const OVER = ['succeeded', 'failed', 'cancelled'];

export function followJobs(page) {
  const list = document.getElementById('jobs');
  const fresh = document.getElementById('fresh');
  const tiles = list.classList.contains('tiles');
  const query = new URLSearchParams(page.dataset.query);
  const show = query.get('show') ?? '';
  // of what stands in a label or a batch the stream does not count
  const label = query.get('label') || query.get('batch') || '';
  const shown = windowed(list, { came: (some) => choice.mark(some) });
  const choice = bulk(page, list, shown);
  let unseen = 0;

  async function some(ids) {
    if (!ids.length) return [];
    const asked = new URLSearchParams(ids.map((id) => ['id', id]));
    if (tiles) asked.set('view', 'tiles');
    const answer = await fetchPage(`${page.dataset.some}?${asked}`).catch(() => null);
    const found = [...(answer?.querySelectorAll('[data-job]') ?? [])];
    found.forEach((one) => showTimes(one));
    return found.map((one) => document.adoptNode(one));
  }

  function tell(count) {
    unseen += count;
    fresh.textContent = unseen ? `${unseen.toLocaleString()} new: show` : 'There is more to see: show';
    fresh.hidden = false;
  }

  async function place(ids) {
    for (const one of (await some(ids)).reverse()) {
      // one that was released and is queued now
      if (shown.item(one.dataset.job)) { replace(one); continue; }
      shown.prepend(one);
      page.querySelector('.nothing')?.remove();
    }
  }

  function patch(job, ended) {
    const one = shown.item(job.id);
    if (!one) return;
    // its poster is there now
    if (one.dataset.kind !== job.kind && job.state === 'succeeded') ended.push(job.id);
    one.dataset.kind = job.kind;
    const chip = one.querySelector('.chip');
    chip.className = `chip ${job.kind}`;
    chip.textContent = job.word;
    one.querySelector('.step').textContent = job.step;
    const bar = one.querySelector('progress');
    bar.hidden = job.progress === null;
    bar.value = job.progress ?? 0;
  }

  // of the jobs of a batch the stream of all tells together: those in sight are asked for, not more often than people see
  const moved = new Set();
  let asked = 0;
  function lookAtBatches(batches) {
    batches.forEach((id) => moved.add(id));
    if (asked || !moved.size) return;
    asked = setTimeout(async () => {
      const seen = shown.inSight().filter((one) => moved.has(one.dataset.batch) && !OVER.includes(one.dataset.kind));
      if ([...moved].some((id) => !list.querySelector(`[data-batch="${CSS.escape(id)}"]`)) && !label) tell(0);
      moved.clear();
      for (const whole of await some(seen.slice(0, 50).map((one) => one.dataset.job))) replace(whole);
      asked = 0;
    }, 3000);
  }

  function replace(whole) {
    const one = shown.item(whole.dataset.job);
    if (!one) return;
    whole.querySelector('[type=checkbox]').checked = one.querySelector('[type=checkbox]').checked;
    one.dataset.kind = whole.dataset.kind;
    const held = one.contains(document.activeElement) && document.activeElement.className;
    one.replaceChildren(...whole.childNodes);
    // whoever is at it with the keyboard stays there
    if (held) one.querySelector('.open').focus();
  }

  // an operator paused or resumed what some of them wait for: their own events say nothing of it
  async function lookAtWaiting() {
    const waiting = [...shown.inPlace()].filter((one) => ![...OVER, 'running'].includes(one.dataset.kind)).map((one) => one.dataset.job);
    for (let at = 0; at < waiting.length; at += 50) (await some(waiting.slice(at, at + 50))).forEach(replace);
  }

  // what stands above the list says more than counts: it is asked for again, not more often than people see
  let looking = 0;
  function lookAtHead() {
    if (looking) return;
    looking = setTimeout(async () => {
      await refreshParts(page.dataset.head);
      looking = 0;
      lookAtAct();
    }, 3000);
  }
  // no job's event tells the end of an act
  function lookAtAct() { if (!document.hidden && document.querySelector('#summary [data-under-way]')) lookAtHead(); }

  async function changes(frame) {
    if (frame.paused) lookAtWaiting();
    if (frame.paused || label) lookAtHead();
    if (!query.get('batch')) lookAtBatches(frame.batches);
    const ended = [];
    frame.jobs.forEach((job) => patch(job, ended));
    for (let at = 0; at < ended.length; at += 50) some(ended.slice(at, at + 50)).then((found) => found.forEach(replace));
    for (const count of document.querySelectorAll('[data-count]')) {
      if ((!label || query.get('batch')) && count.dataset.count in frame.counts) count.textContent = frame.counts[count.dataset.count].toLocaleString();
    }
    if (frame.more) tell(0);
    if (!frame.new || 'older' in page.dataset || label || !['', 'queued', 'waiting'].includes(show)) return;
    if (frame.new <= FEW && !unseen && shown.top < MOST_ON_TOP) place(frame.fresh);
    else tell(frame.new);
  }

  fresh.addEventListener('click', () => location.reload());
  follow(page.dataset.live, { changes, missed: () => { tell(0); lookAtHead(); } });
  lookAtAct();
  keys(shown);
}

function keys(shown) {
  document.addEventListener('keydown', (event) => {
    if (event.target.matches('input:not([type=checkbox]), textarea, select') || event.ctrlKey || event.metaKey) return;
    const at = document.activeElement?.closest('[data-job]');
    if (event.key === 'j') shown.beside(at, 1)?.querySelector('.open').focus();
    if (event.key === 'k') shown.beside(at, -1)?.querySelector('.open').focus();
    if (event.key === 'x' && at) at.querySelector('[type=checkbox]').click();
  });
}
