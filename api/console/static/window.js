// A long list as a window: pieces of jobs, [data-piece], each fetched as one scrolls towards it. Rows that are far out of
// sight are taken out again and their piece keeps its height, so that ten thousand jobs are never in the page at once;
// a piece that comes near is asked for anew and shows what is true then. Tiles stay: a contact sheet has no such length.
import { fetchPage } from './parts.js';
import { showTimes } from './times.js';

// how far from the screen a piece is filled, and emptied
const NEAR = '2500px';

export function windowed(list, { came }) {
  const tiles = list.classList.contains('tiles');
  const items = new Map();
  const pieces = [];
  const keep = (one) => items.set(one.dataset.job, one);

  function add(element, address) {
    const piece = { element, address, ids: [], busy: false };
    for (const one of element.children) { piece.ids.push(one.dataset.job); keep(one); }
    pieces.push(piece);
    // the first one grows at its top: it could not be asked for again as it was
    if (!tiles && pieces.length > 1) near.observe(element);
    return piece;
  }

  async function fill(piece) {
    if (piece.busy || piece.element.childElementCount) return;
    piece.busy = true;
    const found = await fetchPage(piece.address).catch(() => null);
    piece.busy = false;
    if (!found) return;
    const fresh = found.querySelector('[data-piece]');
    showTimes(fresh);
    piece.element.style.removeProperty('height');
    piece.element.replaceChildren(...fresh.children);
    piece.ids = [...piece.element.children].map((one) => { keep(one); return one.dataset.job; });
    came([...piece.element.children]);
  }

  function empty(piece) {
    if (!piece.element.childElementCount || piece.element.contains(document.activeElement)) return;
    piece.element.style.height = `${piece.element.offsetHeight}px`;
    piece.ids.forEach((id) => items.delete(id));
    piece.element.replaceChildren();
  }

  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const piece = pieces.find((one) => one.element === target);
      if (isIntersecting) fill(piece); else empty(piece);
    }
  }, { rootMargin: NEAR });

  // older jobs come as one scrolls towards them; the link is there for whoever has no script, and for the last step
  const end = new IntersectionObserver(async (entries) => {
    const link = document.querySelector('.older');
    // the link before it may stand in the same call, as one that left
    if (!link || link.dataset.asked || !entries.some((one) => one.isIntersecting && one.target === link)) return;
    link.dataset.asked = '1';
    end.unobserve(link);
    const next = await fetchPage(link.href).catch(() => null);
    // whoever stays at the end of the list need not scroll to have it asked again
    if (!next) { setTimeout(() => { delete link.dataset.asked; end.observe(link); }, 2000); return; }
    const piece = next.querySelector('[data-piece]');
    showTimes(piece);
    list.append(piece);
    add(piece, link.href);
    came([...piece.children]);
    const further = next.querySelector('.older');
    if (further) { link.replaceWith(further); end.observe(further); } else link.remove();
  }, { rootMargin: '800px' });

  add(list.querySelector('[data-piece]'), null);
  const link = document.querySelector('.older');
  if (link) end.observe(link);

  return {
    item: (id) => items.get(id),
    // also of those that are out of sight
    ids: () => pieces.flatMap((piece) => piece.ids),
    inPlace: () => items.values(),
    prepend(one) { pieces[0].element.prepend(one); pieces[0].ids.unshift(one.dataset.job); keep(one); },
    get top() { return pieces[0].ids.length; },
    // by halving: what is above the screen is not looked at
    inSight() {
      const found = [];
      for (const { element } of pieces) {
        const { top, bottom } = element.getBoundingClientRect();
        if (!tiles && (bottom < 0 || top > innerHeight)) continue;
        const all = element.children;
        let low = 0; let high = all.length;
        while (low < high) { const at = (low + high) >> 1; if (all[at].getBoundingClientRect().bottom < 0) low = at + 1; else high = at; }
        for (; low < all.length && all[low].getBoundingClientRect().top < innerHeight; low += 1) found.push(all[low]);
      }
      return found;
    },
    // the next or previous one of `one`, also across pieces
    beside(one, step) {
      const way = step > 0 ? 'nextElementSibling' : 'previousElementSibling';
      if (!one) return pieces[0].element.firstElementChild;
      const piece = one.parentElement[way];
      return one[way] ?? (step > 0 ? piece?.firstElementChild : piece?.lastElementChild) ?? one;
    },
  };
}
