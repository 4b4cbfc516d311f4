// What is done to many jobs: those chosen, else all of the filter. First how many they are, then the act, a few hundred
// at a time, then what was written in the log.
import { ask, notice } from './dialogs.js';

const token = document.querySelector('meta[name=csrf]').content;
const headers = { Accept: 'application/json', 'X-CSRF-Token': token };

async function asked(address, options) {
  const answer = await fetch(address, { headers, ...options });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? 'the farm did not answer');
  return body;
}

export function bulk(page, list, shown) {
  const bar = document.getElementById('bulk');
  const all = document.getElementById('choose-all');
  const said = document.getElementById('chosen');
  const pair = bar.querySelector('[data-compare]');
  // what is chosen stays so when its row is out of sight
  const chosen = new Set();

  function show() {
    said.textContent = chosen.size ? `${chosen.size.toLocaleString()} chosen` : 'Choose all shown';
    pair.hidden = chosen.size !== 2;
  }
  function mark(some) { for (const one of some) one.querySelector('[type=checkbox]').checked = chosen.has(one.dataset.job); }
  function choose(ids) {
    chosen.clear();
    ids.forEach((id) => chosen.add(id));
    mark(shown.inPlace());
    show();
  }
  // a browser that goes back ticks what was ticked
  for (const box of list.querySelectorAll('[type=checkbox]:checked')) chosen.add(box.value);
  list.addEventListener('change', ({ target }) => {
    if (target.checked) chosen.add(target.value); else chosen.delete(target.value);
    show();
  });
  all.addEventListener('change', () => choose(all.checked ? shown.ids() : []));
  pair.addEventListener('click', () => {
    location.href = `${bar.dataset.compare}?${new URLSearchParams([...chosen].map((id) => ['id', id]))}`;
  });

  async function act(name, text) {
    const ids = [...chosen];
    let what;
    if (ids.length) what = `${text} ${ids.length.toLocaleString()} chosen ${ids.length === 1 ? 'job' : 'jobs'}?`;
    else {
      const { count, all: exact, filter } = await asked(`${bar.dataset.acts}${name}/count?${page.dataset.query}`);
      if (!count) { notice(`No job of “${filter}” can be changed by ${text.toLowerCase()}.`); return; }
      what = `${text} ${exact ? '' : 'at least '}${count.toLocaleString()} ${count === 1 ? 'job' : 'jobs'} of “${filter}”?`;
    }
    if (!await ask(what, { yes: text, danger: name === 'cancel' })) return;
    let done = 0; let refused = 0; let why = ''; let past = ''; let cursor = null; let rest = ids;
    do {
      const body = new URLSearchParams(ids.length ? rest.slice(0, 200).map((id) => ['id', id]) : page.dataset.query);
      if (cursor) body.set('cursor', cursor);
      const told = await asked(`${bar.dataset.acts}${name}`, { method: 'POST', body });
      done += told.done; refused += told.refused; why ||= told.why[0] ?? ''; past = told.past; cursor = told.cursor;
      rest = rest.slice(200);
      said.textContent = `${done.toLocaleString()} ${past}…`;
    } while (cursor || rest.length);
    notice(`${done.toLocaleString()} ${past}${refused ? `, ${refused.toLocaleString()} refused: ${why}` : ''}. It is in the activity log.`);
    all.checked = false;
    choose([]);
  }
  for (const button of bar.querySelectorAll('[data-act]')) {
    button.addEventListener('click', () => act(button.dataset.act, button.textContent).catch((error) => notice(error.message)));
  }
  show();
  return { mark };
}
