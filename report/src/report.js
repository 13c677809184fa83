// What a pointer does on the page: labels of marks, marks of one trial that light up together, legends that hide series, and lines of
// parallel coordinates that are kept where they cross an axis. Without it the figures are there all the same.
"use strict";
(() => {
  const NEAR = 24;
  const SVG = "http://www.w3.org/2000/svg";
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  // Labels come at once, and not after the browser's delay.
  for (const title of document.querySelectorAll(".plot title")) {
    title.parentNode.dataset.label = title.textContent;
    title.remove();
  }

  // The ends of a path's straight lines, in units of the chart.
  const pathEnds = new WeakMap();
  const ends = (path) => {
    if (!pathEnds.has(path)) {
      const numbers = path.getAttribute("d").match(/-?[\d.]+/g).map(Number);
      pathEnds.set(path, numbers.length % 2 ? [numbers.slice(0, 2)] : numbers.flatMap((x, i) => (i % 2 ? [] : [[x, numbers[i + 1]]])));
    }
    return pathEnds.get(path);
  };
  const value = (axis, share) => {
    if (!axis) return "";
    const [scale, low, high] = axis.split(" ").map((part, i) => (i ? Number(part) : part));
    const along = scale === "log" ? low * (high / low) ** share : low + (high - low) * share;
    const rounded = Number(along.toPrecision(3));
    const size = Math.abs(rounded);
    return size && (size < 1e-3 || size >= 1e6) ? rounded.toExponential().replace("+", "") : String(rounded);
  };
  // The place of a straight line that is nearest to a point.
  const nearestOf = ([x, y], [fromX, fromY], [toX, toY]) => {
    const [across, down] = [toX - fromX, toY - fromY];
    const along = ((x - fromX) * across + (y - fromY) * down) / (across * across + down * down || 1);
    const share = Math.min(Math.max(along, 0), 1);
    return [fromX + share * across, fromY + share * down];
  };
  // The mark under the pointer, with its label; null if none is near.
  const markAt = (plot, event) => {
    const own = event.target.closest("[data-label]:not(.line)");
    if (own && plot.contains(own)) return { path: own, label: own.dataset.label };
    const marks = plot.querySelector(".marks");
    const box = marks.getBoundingClientRect();
    const { width, height } = marks.viewBox.baseVal;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let nearest = { distance: NEAR };
    for (const path of marks.querySelectorAll(".dots path, .line, path[data-trial]:not(.off)")) {
      if (path.closest("g.off")) continue;
      const corners = ends(path).map(([across, down]) => [(across / width) * box.width, (down / height) * box.height]);
      corners.forEach((to, i) => {
        const from = corners[i - 1] ?? to;
        const end = nearestOf([x, y], from, to);
        const distance = Math.hypot(end[0] - x, end[1] - y);
        if (distance < nearest.distance) nearest = { distance, path, end };
      });
    }
    if (!nearest.path) return null;
    const { path, end } = nearest;
    if (!path.classList.contains("line")) return { path, label: path.dataset.label };
    const name = path.dataset.label && `${path.dataset.label}, `;
    return { path, label: `${name}${value(plot.dataset.x, end[0] / box.width)}: ${value(plot.dataset.y, 1 - end[1] / box.height)}` };
  };

  let lit = [];
  const light = (trial) => {
    lit.forEach((mark) => mark.classList.remove("lit"));
    lit = trial === undefined ? [] : [...document.querySelectorAll(`[data-trial="${trial}"]`)];
    lit.forEach((mark) => mark.classList.add("lit"));
  };
  const show = (plot, event) => {
    const mark = markAt(plot, event);
    tip.hidden = !mark?.label;
    light(mark?.path.dataset.trial);
    if (tip.hidden) return;
    tip.textContent = mark.label;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 4;
    tip.style.left = `${Math.max(Math.min(event.clientX + 12, room), 4)}px`;
    tip.style.top = `${event.clientY - tip.offsetHeight - 10}px`;
  };
  let frame = 0;
  for (const plot of document.querySelectorAll(".plot")) {
    plot.addEventListener("pointermove", (event) => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => show(plot, event));
    });
    plot.addEventListener("pointerleave", () => {
      cancelAnimationFrame(frame);
      tip.hidden = true;
      light();
    });
  }
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
  for (const row of document.querySelectorAll("tr[data-trial]")) {
    row.addEventListener("pointerenter", () => light(row.dataset.trial));
    row.addEventListener("pointerleave", () => light());
  }

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const isShown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(isShown));
      for (const series of button.closest("figure").querySelectorAll("g[data-series]")) {
        if (series.dataset.series === button.dataset.series) series.classList.toggle("off", !isShown);
      }
    });
  }

  // A tap keeps what crosses the axis so near to it, as a share of the axis.
  const TAP = 0.1;
  const brushable = (plot) => {
    const last = Number(plot.dataset.axes) - 1;
    const marks = plot.querySelector(".marks");
    const rows = [...marks.querySelectorAll("path")];
    const { width, height } = marks.viewBox.baseVal;
    let brushes = [];
    const draw = () => {
      plot.querySelectorAll(".brush").forEach((mark) => mark.remove());
      for (const { axis, low, high } of brushes) {
        const mark = document.createElementNS(SVG, "svg");
        mark.setAttribute("class", "brush");
        mark.setAttribute("x", `${(100 * axis) / last}%`);
        mark.setAttribute("overflow", "visible");
        const rect = document.createElementNS(SVG, "rect");
        for (const [name, set] of Object.entries({ x: -7, width: 14, y: `${100 * (1 - high)}%`, height: `${100 * (high - low)}%` })) {
          rect.setAttribute(name, set);
        }
        mark.append(rect);
        plot.append(mark);
      }
      for (const row of rows) {
        const at = new Map(ends(row).map(([x, y]) => [Math.round((x / width) * last), 1 - y / height]));
        row.classList.toggle("off", !brushes.every(({ axis, low, high }) => at.get(axis) >= low && at.get(axis) <= high));
      }
    };
    const place = (event) => {
      const box = marks.getBoundingClientRect();
      const within = (share) => Math.min(Math.max(share, 0), 1);
      return {
        axis: Math.round(within((event.clientX - box.left) / box.width) * last),
        at: within(1 - (event.clientY - box.top) / box.height),
      };
    };
    const others = (axis) => brushes.filter((brush) => brush.axis !== axis);
    let start = null;
    let tapped = null;
    plot.classList.add("brushable");
    plot.addEventListener("pointerdown", (event) => {
      // A finger that drags scrolls the page, so it taps.
      if (event.pointerType === "touch") tapped = event.isPrimary ? event : null;
      else if (event.button === 0) start = place(event);
    });
    addEventListener("pointermove", (event) => {
      if (!start) return;
      const { at } = place(event);
      if (Math.abs(at - start.at) < 0.02) return;
      brushes = [...others(start.axis), { axis: start.axis, low: Math.min(at, start.at), high: Math.max(at, start.at) }];
      draw();
    });
    addEventListener("pointerup", (event) => {
      start = null;
      if (tapped && Math.hypot(event.clientX - tapped.clientX, event.clientY - tapped.clientY) < 10) {
        const { axis, at } = place(event);
        const had = brushes.some((brush) => brush.axis === axis && brush.low <= at && at <= brush.high);
        brushes = [...others(axis), ...(had ? [] : [{ axis, low: Math.max(at - TAP, 0), high: Math.min(at + TAP, 1) }])];
        draw();
      }
      tapped = null;
    });
    addEventListener("pointercancel", () => { start = null; tapped = null; });
    plot.addEventListener("dblclick", () => { brushes = []; draw(); });
  };
  document.querySelectorAll(".plot.parallel").forEach(brushable);
})();
