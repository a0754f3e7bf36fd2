// Dragging moves, the wheel zooms about the pointer, two fingers do both. The search dims what does not match, and
// Enter goes to the next match.
const svg = document.querySelector('svg');
const W = +svg.getAttribute('width'), H = +svg.getAttribute('height');
svg.removeAttribute('width');
svg.removeAttribute('height');

// What is seen: a rectangle of the picture.
let v;
const show = () => svg.setAttribute('viewBox', `${v.x} ${v.y} ${v.w} ${v.h}`);
const box = () => svg.getBoundingClientRect();
const toPicture = (x, y) => {
  const b = box();
  return [v.x + (x - b.left) / b.width * v.w, v.y + (y - b.top) / b.height * v.h];
};
const centre = (x, y) => { v.x = x - v.w / 2; v.y = y - v.h / 2; show(); };
const middle = g => {
  const r = g.getBoundingClientRect();
  return toPicture(r.left + r.width / 2, r.top + r.height / 2);
};

const whole = () => {
  const b = box(), s = Math.max(W / b.width, H / b.height);
  v = { w: s * b.width, h: s * b.height };
  centre(W / 2, H / 2);
};

// The top, readable; of a wide picture the part where it begins.
const start = () => {
  const b = box(), s = Math.max(1, Math.min(W / b.width, 1.6));
  v = { x: 0, y: 0, w: s * b.width, h: s * b.height };
  show();
  v.x = (W - v.w) / 2;
  const first = svg.querySelector('.b');
  if (v.x > 0 && first) {
    v.x = 0;
    v.x = Math.max(0, Math.min(W - v.w, middle(first)[0] - v.w / 2));
  }
  show();
};

const zoom = (cx, cy, f) => {
  const [x, y] = toPicture(cx, cy);
  v = { x: x - (x - v.x) * f, y: y - (y - v.y) * f, w: v.w * f, h: v.h * f };
  show();
};

const at = new Map();
svg.onpointerdown = e => { at.set(e.pointerId, e); svg.setPointerCapture(e.pointerId); };
svg.onpointerup = svg.onpointercancel = e => at.delete(e.pointerId);
svg.onpointermove = e => {
  const p = at.get(e.pointerId);
  if (!p) return;
  const b = box();
  if (at.size === 2) {
    const o = [...at.values()].find(q => q.pointerId !== e.pointerId);
    const d = (a, c) => Math.hypot(a.clientX - c.clientX, a.clientY - c.clientY) || 1;
    zoom((e.clientX + o.clientX) / 2, (e.clientY + o.clientY) / 2, d(p, o) / d(e, o));
  } else {
    v.x -= (e.clientX - p.clientX) / b.width * v.w;
    v.y -= (e.clientY - p.clientY) / b.height * v.h;
    show();
  }
  at.set(e.pointerId, e);
};
svg.addEventListener('wheel', e => {
  e.preventDefault();
  zoom(e.clientX, e.clientY, Math.pow(1.0015, e.deltaY));
}, { passive: false });
document.getElementById('whole').onclick = whole;

const find = document.getElementById('find'), count = document.getElementById('count');
let hits = [], hit = 0;
const go = () => {
  count.textContent = find.value === '' ? '' : hits.length ? `${hit + 1} of ${hits.length}` : 'none';
  if (!hits.length) return;
  const b = box(), [x, y] = middle(hits[hit]);
  if (v.w > 1.7 * b.width) v = { w: b.width, h: b.height };
  centre(x, y);
};
find.oninput = () => {
  const text = find.value.toLowerCase();
  hits = [];
  hit = 0;
  document.querySelectorAll('.b,.e').forEach(g => {
    const is = g.querySelector('title').textContent.toLowerCase().includes(text);
    g.classList.toggle('faint', text !== '' && !is);
    if (text !== '' && is && g.classList.contains('b')) hits.push(g);
  });
  go();
};
find.onkeydown = e => {
  if (e.key !== 'Enter' || !hits.length) return;
  hit = (hit + (e.shiftKey ? hits.length - 1 : 1)) % hits.length;
  go();
};
start();
