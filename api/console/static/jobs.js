// The list of jobs: kept current by the stream, continued while one scrolls, chosen from by mouse or key.
import { bulk } from './bulk.js';
import { fetchPage } from './parts.js';
import { follow } from './stream.js';
import { showTimes } from './times.js';

// so many new jobs in a second are put in place by themselves; of more one is told
const FEW = 6;

export function followJobs(page) {
  const list = document.getElementById('jobs');
  const fresh = document.getElementById('fresh');
  const tiles = list.classList.contains('tiles');
  const show = new URLSearchParams(page.dataset.query).get('show') ?? '';
  const query = new URLSearchParams(page.dataset.query);
  // of what stands in a label or a batch the stream does not count
  const label = query.get('label') || query.get('batch') || '';
  const item = (id) => list.querySelector(`[data-job="${CSS.escape(id)}"]`);
  let unseen = 0;

  async function some(ids) {
    const query = new URLSearchParams(ids.map((id) => ['id', id]));
    if (tiles) query.set('view', 'tiles');
    const answer = await fetchPage(`${page.dataset.some}?${query}`).catch(() => null);
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
    const mine = await some(ids);
    for (const one of mine.reverse()) {
      if (item(one.dataset.job)) continue;
      list.prepend(one);
      page.querySelector('.nothing')?.remove();
    }
  }

  function patch(job) {
    const one = item(job.id);
    if (!one) return;
    const ended = one.dataset.kind !== job.kind && job.state === 'succeeded';
    one.dataset.kind = job.kind;
    const chip = one.querySelector('.chip');
    chip.className = `chip ${job.kind}`;
    chip.textContent = job.word;
    one.querySelector('.step').textContent = job.step;
    const bar = one.querySelector('progress');
    bar.hidden = job.progress === null;
    bar.value = job.progress ?? 0;
    // its poster is there now
    if (ended) some([job.id]).then(([whole]) => replace(one, whole));
  }

  // of the jobs of a batch the stream of all tells together: those in sight are asked for, not more often than people see
  const moved = new Set();
  let asked = 0;
  function lookAtBatches(batches) {
    batches.forEach((id) => moved.add(id));
    if (asked || !moved.size) return;
    asked = setTimeout(async () => {
      const seen = [...list.querySelectorAll('[data-batch]')].filter((one) => moved.has(one.dataset.batch)
        && !['succeeded', 'failed', 'cancelled'].includes(one.dataset.kind) && inSight(one));
      if ([...moved].some((id) => !list.querySelector(`[data-batch="${CSS.escape(id)}"]`)) && !label) tell(0);
      moved.clear();
      for (const whole of await some(seen.slice(0, 50).map((one) => one.dataset.job))) replace(item(whole.dataset.job), whole);
      asked = 0;
    }, 3000);
  }
  const inSight = (one) => { const { top, bottom } = one.getBoundingClientRect(); return bottom > 0 && top < innerHeight; };

  function replace(one, whole) {
    if (!one || !whole) return;
    whole.querySelector('[type=checkbox]').checked = one.querySelector('[type=checkbox]').checked;
    one.dataset.kind = whole.dataset.kind;
    one.replaceChildren(...whole.childNodes);
  }

  function changes(frame) {
    if (!query.get('batch')) lookAtBatches(frame.batches);
    frame.jobs.forEach(patch);
    for (const count of document.querySelectorAll('[data-count]')) {
      if ((!label || query.get('batch')) && count.dataset.count in frame.counts) count.textContent = frame.counts[count.dataset.count].toLocaleString();
    }
    if (frame.more) tell(0);
    if (!frame.new || 'older' in page.dataset || label || !['', 'queued', 'waiting'].includes(show)) return;
    if (frame.new <= FEW && !unseen) place(frame.fresh);
    else tell(frame.new);
  }

  fresh.addEventListener('click', () => location.reload());
  follow(page.dataset.live, { changes, missed: () => tell(0) });
  continueList(list);
  keys(list);
  bulk(page, list);
}

// older jobs come as one scrolls towards them; the link is there for whoever has no script, and for the last step
function continueList(list) {
  const watch = new IntersectionObserver(async ([entry]) => {
    const link = document.querySelector('.older');
    if (!entry.isIntersecting || !link || link.dataset.asked) return;
    link.dataset.asked = '1';
    const next = await fetchPage(link.href).catch(() => null);
    if (!next) { delete link.dataset.asked; return; }
    showTimes(next);
    list.append(...next.querySelectorAll('#jobs > [data-job]'));
    const further = next.querySelector('.older');
    if (further) { link.replaceWith(further); watch.observe(further); } else link.remove();
  }, { rootMargin: '800px' });
  const link = document.querySelector('.older');
  if (link) watch.observe(link);
}

function keys(list) {
  document.addEventListener('keydown', (event) => {
    if (event.target.matches('input:not([type=checkbox]), textarea, select') || event.ctrlKey || event.metaKey) return;
    const links = [...list.querySelectorAll('.open')];
    const at = links.indexOf(document.activeElement?.closest('[data-job]')?.querySelector('.open'));
    if (event.key === 'j') links[Math.min(at + 1, links.length - 1)]?.focus();
    if (event.key === 'k') links[Math.max(at - 1, 0)]?.focus();
    if (event.key === 'x' && at >= 0) links[at].closest('[data-job]').querySelector('[type=checkbox]').click();
  });
}
