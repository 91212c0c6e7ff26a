// How the page looks, by day and by night.

export const style = `
:root{--paper:#f4f1ea;--card:#fffdf8;--ink:#23272b;--soft:#6a7076;--line:#e2dccf;--rock:#3f7cac;
--good:#2f8f5b;--warn:#b7791f;--bad:#c0453a;--warnpaper:#fff4da}
@media (prefers-color-scheme:dark){:root{--paper:#15181b;--card:#1d2125;--ink:#e6e3dc;--soft:#969da4;--line:#2c3238;--rock:#6ba6d3;
--good:#58c48a;--warn:#e0ad55;--bad:#ef7d72;--warnpaper:#33291a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:44rem;padding:1.5rem 1rem 2rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;-webkit-text-size-adjust:100%}
h1,h2,h3,p,ul{margin:0}
ul{padding:0;list-style:none}
h1{font-size:1.5rem;line-height:1.15;letter-spacing:-.01em}
h2{margin:2rem 0 .6rem;font-size:.8rem;font-weight:600;letter-spacing:.08em;text-transform:uppercase;color:var(--soft)}
h2 small{letter-spacing:0;text-transform:none}
h3{padding:.55rem .9rem;font-size:1rem;border-bottom:1px solid var(--line)}
small,.url,.figure,.why,.figures,.none,footer{color:var(--soft);font-size:.875rem;font-weight:400}
code{font:.875em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
a{color:var(--rock)}
header{display:flex;align-items:center;gap:.8rem;flex-wrap:wrap}
header svg{width:2.75rem;height:2.75rem;flex:none}
header p{color:var(--soft)}
header b{color:var(--ink);font-weight:600}
.badge{margin-left:auto;padding:.15rem .7rem;border:1px solid;border-radius:1rem;font-size:.875rem}
.badge.well{color:var(--good)}
.badge.resting{color:var(--bad)}
.lead{margin-top:1.1rem}
.warning{margin:.9rem 0 0;padding:.6rem .9rem;border-left:4px solid var(--warn);border-radius:4px;background:var(--warnpaper)}
.stratum{--band:var(--rock);padding-left:6px;background:var(--card);border:1px solid var(--line);border-left:0;box-shadow:inset 6px 0 var(--band);overflow:hidden}
.stratum+.stratum{border-top:0}
.stratum:first-of-type{border-radius:8px 8px 0 0}
.stratum:last-of-type{border-radius:0 0 8px 8px}
.stratum:only-of-type{border-radius:8px}
.stratum:nth-of-type(2){--band:color-mix(in srgb,var(--rock) 78%,#000)}
.stratum:nth-of-type(n+3){--band:color-mix(in srgb,var(--rock) 56%,#000)}
.stratum .none{padding:.55rem .9rem}
li{display:flex;align-items:baseline;flex-wrap:wrap;gap:.1rem .6rem;padding:.5rem .9rem}
li+li{border-top:1px solid var(--line)}
.who{flex:1 1 0;min-width:9rem;overflow-wrap:anywhere}
.who b{font-weight:600}
.who em{padding:0 .4rem;border-radius:.6rem;background:var(--line);font-size:.75rem;font-style:normal}
.url{display:inline-block}
.figure{margin-left:auto;font-variant-numeric:tabular-nums;white-space:nowrap}
.why{flex-basis:100%;overflow-wrap:anywhere}
.stratum .why{padding-left:1.2rem}
.dot{flex:none;width:.6rem;height:.6rem;border-radius:50%;background:var(--soft)}
.dot.well{background:var(--good)}
.dot.untried{background:none;box-shadow:inset 0 0 0 2px var(--soft)}
.dot.failing{background:var(--warn)}
.dot.resting,.dot.excluded{background:var(--bad)}
.sum b{font-size:1.4rem;font-weight:600}
.bar{flex-basis:100%;height:.5rem;margin:.35rem 0;border-radius:.25rem;background:var(--line);overflow:hidden}
.bar div{height:100%;background:var(--rock)}
.fills{background:var(--card);border:1px solid var(--line);border-radius:8px}
.keys code{display:inline-block;padding:.1rem .5rem;border:1px solid var(--line);border-radius:4px;background:var(--card)}
form{display:flex;flex-wrap:wrap;gap:.5rem}
input,button{padding:.45rem .7rem;border:1px solid var(--line);border-radius:8px;background:var(--card);color:inherit;font:inherit}
input{flex:1 1 14rem;min-width:0}
button{border-color:var(--rock);color:var(--rock);cursor:pointer}
footer{margin-top:2.5rem;padding-top:.8rem;border-top:1px solid var(--line)}
`
