// Two clips as one: played, stopped and moved together.
export function compareTakes(page) {
  const clips = [...page.querySelectorAll('video')];
  const button = document.getElementById('play-both');
  const scrub = document.getElementById('scrub');
  if (!clips.length) { button.disabled = scrub.disabled = true; return; }
  const playing = () => clips.some((clip) => !clip.paused);
  const toggle = () => {
    if (playing()) clips.forEach((clip) => clip.pause());
    else {
      clips.forEach((clip) => { clip.currentTime = clips[0].currentTime; });
      clips.forEach((clip) => clip.play());
    }
  };
  const show = () => { button.textContent = playing() ? 'Pause both' : 'Play both'; };
  button.addEventListener('click', toggle);
  clips.forEach((clip) => { clip.addEventListener('play', show); clip.addEventListener('pause', show); });
  scrub.addEventListener('input', () => {
    clips.forEach((clip) => { clip.pause(); if (clip.duration) clip.currentTime = clip.duration * scrub.value / 1000; });
  });
  clips[0].addEventListener('timeupdate', () => { if (clips[0].duration && playing()) scrub.value = 1000 * clips[0].currentTime / clips[0].duration; });
  document.addEventListener('keydown', (event) => {
    if (event.key === ' ' && event.target === document.body) { event.preventDefault(); toggle(); }
  });
}
