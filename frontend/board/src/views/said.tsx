import { useEffect, useState } from "react";

import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";

const SHOWN_MS = 7000;

/** What was said last, for a while; and for who listens, the text once it is there. */
export function Lightbar() {
  const space = useSpace();
  const said = useStore(space.said);
  const aloud = useStore(space.aloud);
  const [over, setOver] = useState(0);
  useEffect(() => {
    const timer = setTimeout(() => {
      setOver(said.n);
    }, SHOWN_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [said.n]);
  return (
    <>
      <div className="said" role="status">
        {said.text !== "" && over !== said.n && <p key={said.n}>{said.text}</p>}
      </div>
      <div className="off-screen aloud" role="status" aria-label="What was written">
        {aloud.text}
      </div>
    </>
  );
}
