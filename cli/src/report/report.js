// Draws the figures of the page with plotly.js, when they come near the window, in the colours of the theme.
"use strict";
(() => {
  const { charts, palettes } = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = new Set();
  // Sizes on paper, in CSS pixels, as the style sheet has them there.
  const paper = {
    wide: { width: 660, height: 350 }, medium: { width: 322, height: 260 }, small: { width: 156, height: 130 },
    square: { width: 660, height: 560 },
  };
  let printing = false;

  const palette = () => (dark.matches && !printing ? palettes.dark : palettes.light);
  const colour = (token) => {
    const name = token.slice(1).replace("~", "");
    const hex = palette()[name] ?? palette().series[Number(name) % palette().series.length];
    return token.endsWith("~") ? hex + "40" : hex;
  };
  const coloured = (value, key) => {
    if (typeof value === "string") return /^@\w+~?$/.test(value) && key !== "text" ? colour(value) : value;
    // Long lists of numbers, of which there are many, are taken as they are; a stop of a colour scale is a short one.
    if (Array.isArray(value)) {
      return typeof value[0] === "number" && value.length > 2 ? value : value.map((item) => coloured(item, key));
    }
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
  // Small panels, and fingers, have no room for the row of buttons.
  const config = (plot) => ({
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    displayModeBar: plot.dataset.size !== "small" && !coarse.matches,
  });

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

  // Parallel coordinates: lines of one shade are one trace; a drag along an axis, or a tap on it, keeps the lines that cross it there.
  const SHADES = 16;
  const INSET = { l: 24, r: 24, t: 52, b: 12 };
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
    const kept = ({ at }) => brushes.every(({ axis, low, high }) => at[axis] !== null && at[axis] >= low && at[axis] <= high);
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
    // Titles stand in two lines where they would run into each other.
    const room = (printing ? paper.wide.width : plot.clientWidth) / chart.axes.length;
    const longest = Math.max(...chart.axes.map(({ title }) => title.length));
    const raised = room < longest * 7.5;
    const titles = chart.axes.map(({ title }, x) => ({
      x, y: 1, yref: "paper", text: title, showarrow: false, yanchor: "bottom", yshift: raised && x % 2 ? 18 : 2,
      xanchor: x === 0 ? "left" : x === last ? "right" : "center", xshift: x === 0 ? -20 : x === last ? 20 : 0,
    }));
    const ticks = chart.axes.flatMap(({ ticks }, x) => ticks.map(([y, text]) => ({
      x, y, text, showarrow: false, xanchor: x === last ? "right" : "left", xshift: x === last ? -4 : 4,
      font: { size: 10, color: palette().text }, bgcolor: palette().ground + "b0", borderpad: 1,
    })));
    return {
      data,
      layout: {
        ...base(), shapes, annotations: [...titles, ...ticks], margin: INSET,
        font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: palette().text },
        dragmode: false,
        xaxis: {
          range: [-0.07, last + 0.07], fixedrange: true, visible: false,
        },
        yaxis: { range: [-0.03, 1.03], fixedrange: true, visible: false },
      },
    };
  };
  // The pointer's place on the axes: their number from the left, and from 0 at the bottom to 1.
  const place = (plot, last, event) => {
    const box = plot.getBoundingClientRect();
    const across = (event.clientX - box.left - INSET.l) / (box.width - INSET.l - INSET.r);
    const down = (event.clientY - box.top - INSET.t) / (box.height - INSET.t - INSET.b);
    const within = (value) => Math.min(Math.max(value, 0), 1);
    return { axis: Math.round(within(across) * last), at: within(1.03 - down * 1.06) };
  };
  // A tap keeps what crosses the axis so near to it, as a share of the axis.
  const TAP = 0.1;
  const brushable = (chart, plot) => {
    const last = chart.axes.length - 1;
    const others = (axis) => (plot.brushes ?? []).filter((brush) => brush.axis !== axis);
    let start = null;
    let tapped = null;
    let frame = 0;
    plot.style.cursor = "crosshair";
    plot.addEventListener("pointerdown", (event) => {
      // A finger that drags scrolls the page, so it taps.
      if (event.pointerType === "touch") tapped = event.isPrimary ? event : null;
      else if (event.button === 0) start = place(plot, last, event);
    });
    addEventListener("pointermove", (event) => {
      if (!start) return;
      const { at } = place(plot, last, event);
      if (Math.abs(at - start.at) < 0.02) return;
      const brush = { axis: start.axis, low: Math.min(at, start.at), high: Math.max(at, start.at) };
      plot.brushes = [...others(brush.axis), brush];
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => draw(plot));
    });
    addEventListener("pointerup", (event) => {
      start = null;
      if (tapped && Math.hypot(event.clientX - tapped.clientX, event.clientY - tapped.clientY) < 10) {
        const { axis, at } = place(plot, last, event);
        const had = (plot.brushes ?? []).some((brush) => brush.axis === axis && brush.low <= at && at <= brush.high);
        plot.brushes = [...others(axis), ...(had ? [] : [{ axis, low: Math.max(at - TAP, 0), high: Math.min(at + TAP, 1) }])];
        draw(plot);
      }
      tapped = null;
    });
    addEventListener("pointercancel", () => { start = null; tapped = null; });
    plot.addEventListener("dblclick", () => { plot.brushes = []; draw(plot); });
  };

  const draw = (plot) => {
    const chart = charts[plot.dataset.figure];
    const { data, layout } = chart.kind === "parallel" ? parallel(chart, plot) : panel(chart, plot);
    const size = printing
      ? { autosize: false, ...paper[plot.classList.contains("square") ? "square" : plot.dataset.size] }
      : { autosize: true, height: plot.clientHeight };
    const first = !drawn.has(plot);
    drawn.add(plot);
    Plotly.react(plot, data, { ...layout, ...size }, config(plot));
    if (first && chart.kind === "parallel") brushable(chart, plot);
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
