import { useEffect, useState } from "react";

import { counted } from "../text/dates.ts";

/** How long it is until then, in seconds that pass. A timer is not read aloud with each of them. */
export function Countdown({ untilMs }: { untilMs: number }) {
  const [nowMs, setNowMs] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => {
      setNowMs(Date.now());
    }, 250);
    return () => {
      clearInterval(timer);
    };
  }, []);
  const seconds = Math.max(0, Math.ceil((untilMs - nowMs) / 1000));
  return (
    <span className="countdown" role="timer">
      {seconds === 0 ? "now" : `in ${counted(seconds, "second")}`}
    </span>
  );
}
