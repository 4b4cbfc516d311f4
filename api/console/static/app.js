// Every page begins here. What a tenant wrote reaches the page as text alone: our server escapes it, and no script of
// ours makes markup out of strings.
import { followJob } from './job.js';
import { followJobs } from './jobs.js';
import { compareTakes } from './compare.js';
import { mindForm } from './submit.js';
import { refreshParts } from './parts.js';
import { askWhy, confirmForms, showKeys } from './dialogs.js';
import { showTimes } from './times.js';

const page = document.querySelector('[data-page]');
const starts = { jobs: followJobs, job: followJob, compare: compareTakes, submit: mindForm };

showTimes(document);
// on a phone the menu and the filters are wider than the screen: where one is must be in sight
for (const at of document.querySelectorAll('.side nav [aria-current], .filters [aria-current]')) {
  // the first of a line, or of a group, is what one sees when nothing is chosen
  if (at.matches(':first-child, .gap + *')) continue;
  const line = at.parentElement;
  line.scrollLeft = at.offsetLeft - line.offsetLeft - (line.clientWidth - at.offsetWidth) / 2;
}
// a poster that is no longer kept leaves its place empty
document.addEventListener('error', (event) => { if (event.target.matches?.('.thumb img')) event.target.remove(); }, true);
confirmForms(document);
askWhy(document);
if (page) {
  starts[page.dataset.page]?.(page);
  if (page.dataset.page === 'refresh') setInterval(() => document.hidden || refreshParts(), 1000 * (page.dataset.every ?? 4));
}
document.addEventListener('keydown', (event) => {
  if (event.target.matches('input:not([type=checkbox]), textarea, select') || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === '/') { const find = document.querySelector('.find input'); if (find) { event.preventDefault(); find.focus(); } }
  if (event.key === 'n') location.href = '/console/submit';
  if (event.key === '?') showKeys();
});
