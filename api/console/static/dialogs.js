// Questions before something is done, and words after it.

// a dialog that is closed, and not only taken away, gives the focus back to where it was
function open(dialog) {
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

export function ask(question, { yes = 'Yes', danger = false } = {}) {
  return new Promise((resolve) => {
    const dialog = document.createElement('dialog');
    const title = Object.assign(document.createElement('h2'), { textContent: question });
    const acts = Object.assign(document.createElement('div'), { className: 'acts' });
    const no = Object.assign(document.createElement('button'), { textContent: 'No' });
    const go = Object.assign(document.createElement('button'), { textContent: yes, className: danger ? 'danger' : 'primary' });
    acts.append(no, go);
    dialog.append(title, document.createElement('p'), acts);
    dialog.setAttribute('aria-label', question);
    let answer = false;
    no.addEventListener('click', () => dialog.close());
    go.addEventListener('click', () => { answer = true; dialog.close(); });
    dialog.addEventListener('close', () => resolve(answer));
    open(dialog);
    go.focus();
  });
}

export function notice(text) {
  const line = Object.assign(document.createElement('p'), { textContent: text });
  document.getElementById('notices').append(line);
  setTimeout(() => line.remove(), 12000);
}

export function confirmForms(root) {
  for (const form of root.querySelectorAll('form[data-confirm]')) {
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (await ask(form.dataset.confirm, { yes: 'Yes, do it', danger: true })) form.submit();
    });
  }
}

// an operator's reason is asked for when the button is used, so that a table stays a table
export function askWhy(root) {
  for (const form of root.querySelectorAll('form[data-why]')) {
    const why = form.querySelector('[name=why]');
    // a field out of sight must not be required: the browser would not send its form, and say nothing
    why.hidden = true;
    why.required = false;
    form.addEventListener('submit', (event) => {
      if (why.value) return;
      event.preventDefault();
      const dialog = document.createElement('dialog');
      const title = Object.assign(document.createElement('h2'), { textContent: form.dataset.why });
      const field = Object.assign(document.createElement('input'), { maxLength: 500, placeholder: 'Why? The audit log keeps it.', required: true });
      field.setAttribute('aria-label', 'Why');
      const asked = Object.assign(document.createElement('form'), { method: 'dialog' });
      const acts = Object.assign(document.createElement('div'), { className: 'acts' });
      const no = Object.assign(document.createElement('button'), { textContent: 'Cancel', type: 'button' });
      acts.append(no, Object.assign(document.createElement('button'), { textContent: 'Go on', className: 'primary' }));
      const line = document.createElement('p');
      line.append(field);
      asked.append(title, line, acts);
      dialog.append(asked);
      dialog.setAttribute('aria-label', form.dataset.why);
      no.addEventListener('click', () => dialog.close());
      asked.addEventListener('submit', () => { why.value = field.value; form.submit(); });
      open(dialog);
      field.focus();
    });
  }
}

const KEYS = [['j / k', 'next, previous job'], ['Enter', 'open it'], ['x', 'choose it'], ['/', 'find a label'], ['n', 'new job'], ['Space', 'play or stop both clips'], ['?', 'these keys']];

export function showKeys() {
  const dialog = document.createElement('dialog');
  const list = Object.assign(document.createElement('dl'), { className: 'facts' });
  for (const [key, text] of KEYS) {
    const line = document.createElement('div');
    const name = document.createElement('dt');
    name.append(Object.assign(document.createElement('kbd'), { textContent: key }));
    line.append(name, Object.assign(document.createElement('dd'), { textContent: text }));
    list.append(line);
  }
  const close = Object.assign(document.createElement('button'), { textContent: 'Close' });
  close.addEventListener('click', () => dialog.close());
  dialog.append(Object.assign(document.createElement('h2'), { textContent: 'Keys' }), list, close);
  dialog.setAttribute('aria-label', 'Keys');
  open(dialog);
}
