//! A picture as a page in which one can move, zoom and search.

use super::svg::escape;

const STYLE: &str = "\
html,body{margin:0;height:100%;overflow:hidden;background:#f6f7f9}\
svg{width:100%;height:100%;cursor:grab;touch-action:none}svg:active{cursor:grabbing}\
#bar{position:fixed;right:12px;top:12px;font:13px 'Helvetica Neue',Helvetica,Arial,sans-serif;color:#3a4550}\
#bar input{font:inherit;padding:4px 8px;border:1px solid #b8c0c8;border-radius:6px;width:15em}\
#bar button{font:inherit;padding:4px 10px;border:1px solid #b8c0c8;border-radius:6px;background:#fff}";

/// What moves, zooms and finds.
const SCRIPT: &str = include_str!("page.js");

/// A page that shows `drawing`, an SVG element.
pub(super) fn page(title: &str, drawing: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head>\n\
         <body>{drawing}<div id=\"bar\"><input id=\"find\" type=\"search\" placeholder=\"find a node or value\" \
         title=\"Enter goes to the next\"> <span id=\"count\"></span> <button id=\"whole\">whole graph</button></div>\n<script>\n{SCRIPT}</script></body></html>\n",
        escape(title)
    )
}
