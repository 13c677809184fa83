// Draws the figures of the page with plotly.js, when they come near the window, in the colours of the theme.
"use strict";
(() => {
  const { charts, palettes } = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = new Set();
  // Widths on paper, in CSS pixels; the style sheet has as many columns there.
  const paper = { wide: 660, medium: 322, small: 156 };
  let printing = false;

  const palette = () => (dark.matches && !printing ? palettes.dark : palettes.light);
  const colour = (token) => {
    const name = token.slice(1).replace("~", "");
    const hex = palette()[name] ?? palette().series[Number(name) % palette().series.length];
    return token.endsWith("~") ? hex + "40" : hex;
  };
  const coloured = (value, key) => {
    if (typeof value === "string") return /^@\w+~?$/.test(value) && key !== "text" ? colour(value) : value;
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((item) => coloured(item, key));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, key)]));
  };

  const axisLook = () => ({
    gridcolor: palette().grid, linecolor: palette().grid, zeroline: false, tickfont: { color: palette().muted },
  });
  const base = () => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    dragmode: coarse.matches ? false : "zoom",
    hoverlabel: { bgcolor: palette().ground, bordercolor: palette().muted, font: { color: palette().text } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: palette().muted, activecolor: palette().text },
  });
  const config = {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };

  const panel = (chart, plot) => {
    const { data, layout } = coloured(chart.plots[Number(plot.dataset.plot)]);
    const hidden = plot.closest("figure").hiddenNames ?? new Set();
    for (const trace of data) trace.visible = !hidden.has(trace.name);
    const font = { ...layout.font, family: getComputedStyle(document.body).fontFamily, color: palette().text };
    return {
      data,
      layout: {
        ...base(), ...layout, font,
        xaxis: { ...axisLook(), ...layout.xaxis }, yaxis: { ...axisLook(), ...layout.yaxis },
      },
    };
  };

  // Parallel coordinates: lines of one shade are one trace; a drag along an axis keeps the lines that cross it there.
  const SHADES = 16;
  const shadeOf = (share) => {
    const stops = dark.matches && !printing
      ? [[253, 231, 37], [92, 200, 99], [33, 144, 141], [65, 92, 150]]
      : [[68, 1, 84], [59, 81, 139], [33, 144, 141], [122, 199, 120]];
    const place = share * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    const mixed = stops[below].map((from, i) => Math.round(from + (stops[below + 1][i] - from) * (place - below)));
    return `rgb(${mixed.join(",")})`;
  };
  const parallel = (chart, plot) => {
    const last = chart.axes.length - 1;
    const brushes = plot.brushes ?? [];
    const kept = (row) => brushes.every(({ axis, low, high }) => row.at[axis] >= low && row.at[axis] <= high);
    const lines = (rows, line) => ({
      type: "scatter", mode: "lines", line, hovertemplate: "%{text}<extra></extra>",
      x: rows.flatMap((row) => [...row.at.keys(), null]),
      y: rows.flatMap((row) => [...row.at, null]),
      text: rows.flatMap((row) => [...row.at.map(() => row.label), null]),
    });
    const chosen = chart.rows.filter(kept);
    const width = chart.rows.length > 400 ? 0.8 : 1.4;
    const data = [];
    if (chosen.length < chart.rows.length) {
      const others = chart.rows.filter((row) => !kept(row));
      data.push({ ...lines(others, { color: palette().grid, width }), hoverinfo: "skip", hovertemplate: undefined });
    }
    for (let shade = SHADES - 1; shade >= 0; shade -= 1) {
      const rows = chosen.filter((row) => Math.min(Math.floor(row.shade * SHADES), SHADES - 1) === shade);
      if (rows.length) data.push(lines(rows, { color: shadeOf(shade / (SHADES - 1)), width }));
    }
    const shapes = chart.axes.map((_, x) => ({
      type: "line", x0: x, x1: x, y0: 0, y1: 1, line: { color: palette().muted, width: 1.2 },
    }));
    for (const { axis, low, high } of brushes) {
      shapes.push({
        type: "rect", x0: axis - 0.06, x1: axis + 0.06, y0: low, y1: high, line: { width: 1, color: colour("@1") },
        fillcolor: colour("@1~"),
      });
    }
    const annotations = chart.axes.flatMap(({ ticks }, x) => ticks.map(([y, text]) => ({
      x, y, text, showarrow: false, xanchor: x === last ? "right" : "left", xshift: x === last ? -4 : 4,
      font: { size: 10, color: palette().text }, bgcolor: palette().ground + "b0", borderpad: 1,
    })));
    return {
      data,
      layout: {
        ...base(), shapes, annotations, margin: { l: 24, r: 24, t: 44, b: 12 },
        font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: palette().text },
        dragmode: coarse.matches ? false : "select",
        xaxis: {
          range: [-0.12, last + 0.12], fixedrange: true, zeroline: false, showgrid: false, side: "top", tickangle: 0,
          tickvals: chart.axes.map((_, x) => x), ticktext: chart.axes.map(({ title }) => title),
        },
        yaxis: { range: [-0.03, 1.03], fixedrange: true, visible: false },
      },
    };
  };
  const brush = (plot, selection) => {
    const [from, to] = [...selection.range.x].sort((a, b) => a - b);
    const [low, high] = [...selection.range.y].sort((a, b) => a - b);
    const axis = Math.round((from + to) / 2);
    plot.brushes = [...(plot.brushes ?? []).filter((brush) => brush.axis !== axis), { axis, low, high }];
    draw(plot);
  };

  const draw = (plot) => {
    const chart = charts[plot.dataset.figure];
    const { data, layout } = chart.kind === "parallel" ? parallel(chart, plot) : panel(chart, plot);
    if (printing) layout.width = paper[plot.dataset.size];
    const first = !drawn.has(plot);
    drawn.add(plot);
    Plotly.react(plot, data, { ...layout, autosize: !printing, height: plot.clientHeight, selections: [] }, config);
    if (first && chart.kind === "parallel") {
      plot.on("plotly_selected", (event) => event?.range && brush(plot, event));
      plot.on("plotly_doubleclick", () => { plot.brushes = []; draw(plot); });
    }
  };
  const drawAll = () => plots.forEach(draw);
  const redraw = () => drawn.forEach(draw);

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) {
        near.unobserve(target);
        if (!drawn.has(target)) draw(target);
      }
    }
  }, { rootMargin: "800px" });
  plots.forEach((plot) => near.observe(plot));

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const figure = button.closest("figure");
      figure.hiddenNames ??= new Set();
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      if (shown) figure.hiddenNames.delete(button.dataset.name);
      else figure.hiddenNames.add(button.dataset.name);
      figure.querySelectorAll(".plot").forEach((plot) => drawn.has(plot) && draw(plot));
    });
  }

  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; drawAll(); });
  addEventListener("afterprint", () => { printing = false; redraw(); });
})();
