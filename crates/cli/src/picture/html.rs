//! A picture as a page in which one can move, zoom and search.

use super::svg::escape;

const STYLE: &str = "\
html,body{margin:0;height:100%;overflow:hidden;background:#f6f7f9}\
svg{width:100%;height:100%;cursor:grab;touch-action:none}svg:active{cursor:grabbing}\
#bar{position:fixed;right:12px;top:12px;font:13px 'Helvetica Neue',Helvetica,Arial,sans-serif;color:#3a4550}\
#bar input{font:inherit;padding:4px 8px;border:1px solid #b8c0c8;border-radius:6px;width:15em}\
#bar button{font:inherit;padding:4px 10px;border:1px solid #b8c0c8;border-radius:6px;background:#fff}";

/// Dragging moves, the wheel zooms about the pointer, two fingers do both; the search dims what does not match.
const SCRIPT: &str = "\
const svg=document.querySelector('svg'),W=+svg.getAttribute('width'),H=+svg.getAttribute('height');\
svg.removeAttribute('width');svg.removeAttribute('height');\
let v;const show=()=>svg.setAttribute('viewBox',`${v.x} ${v.y} ${v.w} ${v.h}`);\
const box=()=>svg.getBoundingClientRect();\
const whole=()=>{const b=box(),s=Math.max(W/b.width,H/b.height);v={x:(W-s*b.width)/2,y:(H-s*b.height)/2,w:s*b.width,h:s*b.height};show()};\
const start=()=>{const b=box(),s=Math.max(1,Math.min(W/b.width,1.6));v={x:Math.min(0,(W-s*b.width)/2),y:0,w:s*b.width,h:s*b.height};show()};\
const zoom=(cx,cy,f)=>{const b=box(),px=v.x+(cx-b.left)/b.width*v.w,py=v.y+(cy-b.top)/b.height*v.h;\
v={x:px-(px-v.x)*f,y:py-(py-v.y)*f,w:v.w*f,h:v.h*f};show()};\
const at=new Map();\
svg.onpointerdown=e=>{at.set(e.pointerId,e);svg.setPointerCapture(e.pointerId)};\
svg.onpointerup=svg.onpointercancel=e=>at.delete(e.pointerId);\
svg.onpointermove=e=>{const p=at.get(e.pointerId);if(!p)return;const b=box();\
if(at.size===2){const o=[...at.values()].find(q=>q.pointerId!==e.pointerId);\
const d=(a,c)=>Math.hypot(a.clientX-c.clientX,a.clientY-c.clientY)||1;\
zoom((e.clientX+o.clientX)/2,(e.clientY+o.clientY)/2,d(p,o)/d(e,o))}\
else{v.x-=(e.clientX-p.clientX)/b.width*v.w;v.y-=(e.clientY-p.clientY)/b.height*v.h;show()}at.set(e.pointerId,e)};\
svg.addEventListener('wheel',e=>{e.preventDefault();zoom(e.clientX,e.clientY,Math.pow(1.0015,e.deltaY))},{passive:false});\
document.getElementById('whole').onclick=whole;\
document.getElementById('find').oninput=e=>{const t=e.target.value.toLowerCase();let first;\
document.querySelectorAll('.b,.e').forEach(g=>{const hit=g.querySelector('title').textContent.toLowerCase().includes(t);\
g.classList.toggle('faint',t!==''&&!hit);if(t&&hit&&!first&&g.classList.contains('b'))first=g});\
if(first){const r=first.getBoundingClientRect(),b=box();\
v.x+=(r.left+r.width/2-b.left-b.width/2)/b.width*v.w;v.y+=(r.top+r.height/2-b.top-b.height/2)/b.height*v.h;show()}};\
start();";

/// A page that shows `drawing`, an SVG element.
pub(super) fn page(title: &str, drawing: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head>\n\
         <body>{drawing}<div id=\"bar\"><input id=\"find\" type=\"search\" placeholder=\"find a node or value\"> \
         <button id=\"whole\">whole graph</button></div>\n<script>{SCRIPT}</script></body></html>\n",
        escape(title)
    )
}
