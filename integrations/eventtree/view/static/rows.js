// Rows of one fixed height in a window: only what is seen is drawn, so that 10,000 rows scroll like 10.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./preact/standalone.module.js";

const BEYOND = 12; // rows drawn above and below what is seen
const STEP = 8; // rows scrolled before the window is drawn anew

/**
 * `row(index, slot)` draws a row, again only where one of the values in `of` has changed; `slot` is its key and its
 * style. As one scrolls, the elements of rows that go out of sight are those of rows that come: nothing is added, taken
 * out or moved in the page, so that a frame costs the browser little.
 *
 * `active` is the index kept in view; `onEnd` is called near the last row; `onTop(bool)` reports whether the window is
 * at its top.
 */
export function Rows({ count, height, row, active, of, onEnd, onTop, role, label, id, onKey }) {
  const box = useRef(null);
  const [first, setFirst] = useState(0);
  const [seen, setSeen] = useState(40);
  const isAtEnd = first + seen + STEP + BEYOND >= count;
  // By position, not by the scroll event: at the end there is nothing left to scroll.
  useEffect(() => {
    if (isAtEnd && onEnd) onEnd();
  }, [isAtEnd, ...of]);

  const slots = seen + STEP + 2 * BEYOND;
  const known = useMemo(() => new Map(), [...of, slots]);

  useEffect(() => {
    const measure = new ResizeObserver(() => setSeen(Math.ceil(box.current.clientHeight / height)));
    measure.observe(box.current);
    return () => measure.disconnect();
  }, [height]);

  useLayoutEffect(() => {
    if (active < 0 || active == null) return;
    const { scrollTop, clientHeight } = box.current;
    const top = active * height;
    if (top < scrollTop) box.current.scrollTop = top;
    else if (top + height > scrollTop + clientHeight) box.current.scrollTop = top + height - clientHeight;
  }, [active, height]);

  const scrolled = () => {
    const at = Math.floor(box.current.scrollTop / height);
    if (onTop) onTop(box.current.scrollTop < height);
    setFirst(at - (at % STEP));
  };

  const from = Math.max(0, Math.min(first, count - 1) - BEYOND);
  const until = Math.min(count, first + seen + STEP + BEYOND);
  const drawn = [];
  for (let index = from; index < until; index++) {
    const key = index % slots;
    const style = { height: `${height}px`, transform: `translateY(${index * height}px)` };
    if (!known.has(index)) known.set(index, row(index, { key, style }));
    drawn[key] = known.get(index); // the very same row is not even compared
  }
  return html`
    <div class="rows" ref=${box} onScroll=${scrolled} onKeyDown=${onKey} tabindex="0" role=${role} aria-label=${label}
      id=${id} aria-activedescendant=${active >= 0 ? `${id}-${active}` : undefined}>
      <div role="presentation" class="sheet" style=${{ height: `${count * height}px` }}>${drawn}</div>
    </div>`;
}
