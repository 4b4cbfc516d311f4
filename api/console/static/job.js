// A job's page: its live parts are asked for again when it moved, and the whole page once it is over.
import { refreshParts } from './parts.js';
import { follow } from './stream.js';

export function followJob(page) {
  if (['succeeded', 'failed', 'cancelled'].includes(page.dataset.state)) return;
  let waiting = false;
  const look = async () => {
    if (waiting) return;
    waiting = true;
    const fresh = await refreshParts();
    waiting = false;
    const state = fresh?.querySelector('[data-page=job]')?.dataset.state;
    if (state && state !== page.dataset.state && ['succeeded', 'failed', 'cancelled'].includes(state)) location.reload();
    if (state) page.dataset.state = state;
  };
  follow(page.dataset.live, {
    changes: ({ jobs, paused, more }) => { if (more || paused || jobs.some((job) => job.id === page.dataset.job)) look(); },
    missed: look,
  });
  // what it waits for can change without a word about this job
  setInterval(() => document.hidden || look(), 15000);
}
