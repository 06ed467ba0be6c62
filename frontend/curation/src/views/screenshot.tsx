import { type CSSProperties, type PointerEvent, useEffect, useLayoutEffect, useRef, useState } from "react";

import { useCommands } from "../commands.ts";
import type { Row } from "../contract.ts";
import { type Fit, type Lie, type Size, fitted, moved, zoomed } from "../parts/pan-zoom.ts";
import { useSpace } from "../space-context.ts";

const STEP = 1.25;
const PAN_PX = 80;

type Choice = Fit | Lie;

/** A row's picture: wheel or keys zoom, dragging moves it, two fingers do both. */
export function Screenshot({ row }: { row: Row }) {
  const { desk } = useSpace();
  const frame = useRef<HTMLDivElement>(null);
  const [url, setUrl] = useState<string | null>(null);
  const [missing, setMissing] = useState(false);
  const [picture, setPicture] = useState<Size | null>(null);
  const [size, setSize] = useState<Size>({ width: 0, height: 0 });
  const [choice, setChoice] = useState<Choice>("width");
  const fingers = useRef(new Map<number, { x: number; y: number }>());

  useEffect(() => {
    let stale = false;
    desk.lineUp.picture(row).then(
      (address) => {
        if (!stale) setUrl(address);
      },
      () => {
        if (!stale) setMissing(true);
      },
    );
    return () => {
      stale = true;
    };
  }, [desk, row]);

  useLayoutEffect(() => {
    const element = frame.current;
    if (!element) return;
    const measure = () => {
      setSize({ width: element.clientWidth, height: element.clientHeight });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => {
      observer.disconnect();
    };
  }, []);

  const shown = picture && size.width > 0;
  const lie = shown ? (typeof choice === "string" ? fitted(choice, picture, size) : choice) : null;
  const pageHeight = shown
    ? Math.ceil(fitted("width", picture, { ...size, height: Infinity }).scale * picture.height)
    : null;
  const centre = { x: size.width / 2, y: size.height / 3 };
  const zoomBy = (by: number, at = centre) => {
    if (lie && picture) setChoice(zoomed(lie, by, at, picture, size));
  };
  const pan = (dx: number, dy: number) => () => {
    if (lie && picture) setChoice(moved(lie, dx, dy, picture, size));
  };
  const whole = () => {
    setChoice("page");
  };
  const widthOrActual = () => {
    if (choice === "width") zoomBy(1 / (lie?.scale ?? 1));
    else setChoice("width");
  };
  useCommands({
    zoom: widthOrActual,
    zoomIn: () => {
      zoomBy(STEP);
    },
    zoomOut: () => {
      zoomBy(1 / STEP);
    },
    fit: whole,
    panUp: pan(0, PAN_PX),
    panDown: pan(0, -PAN_PX),
    panLeft: pan(PAN_PX, 0),
    panRight: pan(-PAN_PX, 0),
  });

  // React listens to wheels passively, and the page must not scroll with the picture.
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const turn = (event: WheelEvent) => {
      if (!lie || !picture) return;
      event.preventDefault();
      const box = element.getBoundingClientRect();
      if (event.shiftKey) setChoice(moved(lie, -event.deltaY - event.deltaX, 0, picture, size));
      else
        setChoice(
          zoomed(
            lie,
            Math.exp(-event.deltaY / 500),
            { x: event.clientX - box.left, y: event.clientY - box.top },
            picture,
            size,
          ),
        );
    };
    element.addEventListener("wheel", turn, { passive: false });
    return () => {
      element.removeEventListener("wheel", turn);
    };
  }, [lie, picture, size]);

  const drag = (event: PointerEvent<HTMLDivElement>) => {
    const before = fingers.current.get(event.pointerId);
    if (!before || !lie || !picture) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...fingers.current].find(([id]) => id !== event.pointerId)?.[1];
    fingers.current.set(event.pointerId, now);
    if (!other) {
      setChoice(moved(lie, now.x - before.x, now.y - before.y, picture, size));
      return;
    }
    const box = event.currentTarget.getBoundingClientRect();
    const apart = (point: { x: number; y: number }) => Math.hypot(point.x - other.x, point.y - other.y);
    const middle = { x: (now.x + other.x) / 2 - box.left, y: (now.y + other.y) / 2 - box.top };
    setChoice(zoomed(lie, apart(now) / Math.max(1, apart(before)), middle, picture, size));
  };
  const lift = (event: PointerEvent) => {
    fingers.current.delete(event.pointerId);
  };

  return (
    <section className="picture-side" aria-label="Screenshot">
      <div
        ref={frame}
        className="picture"
        style={pageHeight === null ? {} : ({ "--page-height": `${pageHeight}px` } as CSSProperties)}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          event.currentTarget.setPointerCapture(event.pointerId);
          fingers.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
        }}
        onPointerMove={drag}
        onPointerUp={lift}
        onPointerCancel={lift}
        onDoubleClick={widthOrActual}
      >
        {missing && <p className="quiet centre">The screenshot cannot be had.</p>}
        {url && (
          <img
            src={url}
            alt={`Screenshot of row ${row.id}`}
            draggable={false}
            onLoad={({ currentTarget }) => {
              setPicture({ width: currentTarget.naturalWidth, height: currentTarget.naturalHeight });
            }}
            onError={() => {
              setMissing(true);
              setUrl(null);
            }}
            style={
              lie && picture
                ? {
                    width: picture.width * lie.scale,
                    height: picture.height * lie.scale,
                    transform: `translate(${lie.x}px, ${lie.y}px)`,
                  }
                : { visibility: "hidden" }
            }
          />
        )}
      </div>
      <div className="picture-tools" role="toolbar" aria-label="Screenshot">
        <button
          type="button"
          aria-pressed={choice === "width"}
          onClick={() => {
            setChoice("width");
          }}
        >
          Width
        </button>
        <button
          type="button"
          onClick={() => {
            zoomBy(1 / (lie?.scale ?? 1));
          }}
        >
          1:1
        </button>
        <button type="button" aria-pressed={choice === "page"} onClick={whole}>
          All
        </button>
        <button
          type="button"
          aria-label="Smaller"
          onClick={() => {
            zoomBy(1 / STEP);
          }}
        >
          −
        </button>
        <output aria-label="Zoom">{lie ? Math.round(lie.scale * 100) : 100} %</output>
        <button
          type="button"
          aria-label="Larger"
          onClick={() => {
            zoomBy(STEP);
          }}
        >
          +
        </button>
      </div>
    </section>
  );
}
