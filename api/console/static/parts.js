// The live parts of a page, [data-part] with an id: asked for again, and put in place where they changed.
import { confirmForms, askWhy } from './dialogs.js';
import { showTimes } from './times.js';

export async function fetchPage(address) {
  const answer = await fetch(address, { headers: { 'X-Part': '1' }, redirect: 'manual' });
  if (answer.type === 'opaqueredirect') { location.reload(); return null; }
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), 'text/html');
}

// a question is about a form of the page, which has to be there when it is answered
const busy = (part) => document.querySelector('dialog[open]') || part.contains(document.activeElement) || part.querySelector('details[open]') || [...part.querySelectorAll('input:not([type=hidden])')].some((field) => field.value);

export async function refreshParts(address = location.href) {
  const fresh = await fetchPage(address).catch(() => null);
  if (!fresh) return null;
  for (const part of document.querySelectorAll('[data-part]')) {
    const other = fresh.getElementById(part.id);
    // what somebody is typing in, or has opened, stays as it is
    if (!other || busy(part)) continue;
    showTimes(other);
    if (part.innerHTML === other.innerHTML && part.className === other.className) continue;
    part.className = other.className;
    part.replaceChildren(...other.childNodes);
    confirmForms(part);
    askWhy(part);
  }
  return fresh;
}
