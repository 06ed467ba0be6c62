import { type ReactNode, useEffect, useState } from "react";

const DOUBT_MS = 5000;

/** A button for what cannot be undone: the first press asks, the second does it. */
export function SureButton(props: {
  children: ReactNode;
  sure: string;
  onSure: () => void;
  className?: string;
  label?: string;
}) {
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => {
      setAsked(false);
    }, DOUBT_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [asked]);
  return (
    <button
      type="button"
      className={`${props.className ?? ""} ${asked ? "sure" : ""}`}
      aria-label={asked ? undefined : props.label}
      onClick={() => {
        if (asked) props.onSure();
        setAsked(!asked);
      }}
      onBlur={() => {
        setAsked(false);
      }}
    >
      {asked ? props.sure : props.children}
    </button>
  );
}
