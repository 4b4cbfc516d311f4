// One stream of changes for a page: handlers get the frame's data. A hidden page closes it, and looks anew when it is
// seen again, so that a forgotten tab costs nothing.
export function follow(address, { changes, missed }) {
  let source = null;
  const open = () => {
    source = new EventSource(address);
    source.addEventListener('changes', (event) => changes(JSON.parse(event.data)));
    source.addEventListener('signed-out', () => location.reload());
    // it comes back by itself; what happened meanwhile was not seen
    source.addEventListener('error', () => { source.addEventListener('ready', missed, { once: true }); });
  };
  const close = () => { source?.close(); source = null; };
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) close();
    else if (!source) { open(); missed(); }
  });
  addEventListener('pagehide', close);
  open();
}
