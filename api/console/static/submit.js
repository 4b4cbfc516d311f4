// The form of a new job: files by drag and drop, and after every change what it would cost and what is wrong.
const span = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);
const credits = (count) => count.toLocaleString(undefined, { minimumFractionDigits: Number.isInteger(count) ? 0 : 2, maximumFractionDigits: 4 });

export function mindForm(page) {
  const form = document.getElementById('submit');
  const roles = JSON.parse(page.dataset.roles);
  const drops = [...form.querySelectorAll('.drop')];
  const token = document.querySelector('meta[name=csrf]').content;
  let waiting; let turn = 0;

  function showRoles() {
    const chosen = roles[form.elements.model.value];
    const named = new Set(chosen ? Object.values(chosen).flat() : ['image']);
    for (const drop of drops) {
      const field = drop.querySelector('input');
      drop.hidden = !named.has(drop.dataset.role) && !field.files.length;
    }
  }

  function showFile(drop) {
    const field = drop.querySelector('input');
    const label = drop.querySelector('label');
    const [file] = field.files;
    label.querySelector('img')?.remove();
    drop.querySelector('.clear').hidden = !file;
    label.querySelector('.icon').toggleAttribute('hidden', Boolean(file?.type.startsWith('image/')));
    label.querySelector('small').textContent = file ? `${file.name} · ${(file.size / 1e6).toFixed(1)} MB` : 'Drop a file here, or choose one';
    if (file?.type.startsWith('image/')) {
      const look = Object.assign(document.createElement('img'), { alt: '', src: URL.createObjectURL(file) });
      look.addEventListener('load', () => URL.revokeObjectURL(look.src), { once: true });
      label.prepend(look);
    }
    check();
  }

  const say = (name, text) => { document.querySelector(`[data-say=${name}]`).textContent = text; };

  function showErrors(errors) {
    for (const line of form.querySelectorAll('.wrong')) line.textContent = '';
    for (const field of form.querySelectorAll('[aria-invalid]')) field.removeAttribute('aria-invalid');
    for (const { field, detail } of errors) {
      const line = document.getElementById(`e-${field}`) ?? document.getElementById('e-');
      line.textContent = line.id === 'e-' && field ? `${field}: ${detail}` : detail;
      form.elements[field]?.setAttribute?.('aria-invalid', 'true');
    }
  }

  async function look() {
    const mine = ++turn;
    const body = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (typeof value === 'string') body.append(name, value);
    for (const drop of drops) if (drop.querySelector('input').files.length) body.append('chosen', drop.dataset.role);
    const answer = await fetch(page.dataset.check, { method: 'POST', body, headers: { Accept: 'application/json', 'X-CSRF-Token': token } });
    const told = await answer.json();
    if (mine !== turn) return;
    const missing = !form.elements.prompt.value.trim();
    // an empty form is not wrong yet
    showErrors((told.errors ?? []).filter((error) => !(missing && error.field === 'prompt')));
    document.getElementById('send').disabled = missing || Boolean(told.errors?.length);
    const { estimate } = told;
    const { available, held } = told;
    const price = estimate?.cost ?? held;
    say('cost', !estimate ? '–' : available === null ? 'not charged' : price === null ? 'not known' : `${estimate.cost === null ? 'about ' : ''}${credits(price)} of ${credits(available)} credits`);
    say('predicted', estimate?.predicted_s != null ? `about ${span(estimate.predicted_s)}` : estimate ? 'with its input' : '–');
    say('shape', !estimate ? '–' : estimate.width && estimate.frames ? `${estimate.width} × ${estimate.height}, ${(estimate.frames / estimate.fps).toFixed(1)} s` : 'as its input');
    say('model', estimate?.model ?? '–');
  }

  function check() { clearTimeout(waiting); waiting = setTimeout(() => look().catch(() => {}), 250); }

  for (const drop of drops) {
    const field = drop.querySelector('input');
    field.addEventListener('change', () => showFile(drop));
    drop.querySelector('.clear').addEventListener('click', () => { field.value = ''; showFile(drop); });
    drop.addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('over'); });
    drop.addEventListener('dragleave', () => drop.classList.remove('over'));
    drop.addEventListener('drop', (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      if (event.dataTransfer.files.length) { field.files = event.dataTransfer.files; showFile(drop); }
    });
  }
  form.elements.model.addEventListener('change', showRoles);
  form.addEventListener('input', (event) => { if (event.target.type !== 'file') check(); });
  form.addEventListener('submit', () => { const send = document.getElementById('send'); send.disabled = true; send.textContent = 'Sending…'; });
  addEventListener('pageshow', () => { const send = document.getElementById('send'); send.textContent = 'Submit'; showRoles(); check(); });
}
