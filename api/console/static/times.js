// Moments in the reader's own zone; those of class "ago" as a distance.
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const short = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', day: 'numeric', month: 'short' });
const ago = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });

function distance(date) {
  const seconds = (date - Date.now()) / 1000;
  for (const [unit, length] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (Math.abs(seconds) >= length) return ago.format(Math.trunc(seconds / length), unit);
  }
  return 'just now';
}

export function showTimes(root) {
  for (const time of root.querySelectorAll('time[datetime]')) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.valueOf())) continue;
    time.title = full.format(date);
    time.textContent = time.classList.contains('ago') ? distance(date) : time.classList.contains('clock') ? short.format(date) : full.format(date);
  }
}
