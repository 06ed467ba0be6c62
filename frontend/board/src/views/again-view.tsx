import { useEffect, useMemo, useRef, useState } from "react";

import type { ModelInfo } from "../contract.ts";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { type Again, readQuery, verdictOf } from "../write/again.ts";
import { modelNamed } from "../write/writer.ts";
import { ThreadPosts } from "./thread.tsx";

/** A text that a link describes, written again before one's eyes, and whether it is the one that was sent. */
export function AgainView({ query }: { query: string }) {
  const again = useMemo(() => readQuery(query), [query]);
  return (
    <>
      <div className="view-head">
        <h2>Somebody had this written, and sends it to you</h2>
      </div>
      {again ? (
        <Described again={again} />
      ) : (
        <p className="empty">
          But the link is not whole: a part of it was lost or changed on the way. Ask for it once more, or{" "}
          <a href="#/">write one yourself</a>.
        </p>
      )}
    </>
  );
}

function Described({ again }: { again: Again }) {
  const space = useSpace();
  const { list } = useStore(space.models);
  const [instead, setInstead] = useState(false);
  if (!list) return <p className="empty">Waiting for the service …</p>;
  const named = modelNamed(list, again.model);
  const model = named ?? (instead ? space.model(list) : null);
  if (model) return <Written again={again} model={model} />;
  return (
    <p className="empty">
      It was written by the model “{again.model}”, which is not here (any more).{" "}
      {list.length > 0 && (
        <button
          type="button"
          className="link strong"
          onClick={() => {
            setInstead(true);
          }}
        >
          Have another model write with the same beginning
        </button>
      )}
    </p>
  );
}

function Written({ again, model }: { again: Again; model: ModelInfo }) {
  const space = useSpace();
  const [id, setId] = useState<string | null>(null);
  const begun = useRef(false);
  useEffect(() => {
    // Once, also where effects run twice: it is somebody's processor.
    if (begun.current) return;
    begun.current = true;
    setId(space.again(again, model).thread);
  }, [space, again, model]);
  const { threads } = useStore(space.threads.state);
  const thread = threads.find((one) => one.id === id);
  const post = thread?.posts[0];
  const once = () => {
    setId(space.again(again, model).thread);
  };
  return (
    <>
      {again.prompt !== "" && (
        <p className="view-note">
          What is <span className="given">marked like this</span>, or by a line beside it, came with the link;
          the rest is the model’s.
        </p>
      )}
      {thread && (
        <ThreadPosts
          thread={thread}
          note={
            post?.state === "done" && (
              <Verdict again={again} model={model} text={post.text} edition={post.edition} />
            )
          }
        />
      )}
      {(id !== null && !thread) || post?.state === "stopped" ? (
        <p className="view-note">
          It was stopped.{" "}
          <button type="button" className="link strong" onClick={once}>
            Write it once more
          </button>
        </p>
      ) : null}
    </>
  );
}

function Verdict(props: { again: Again; model: ModelInfo; text: string; edition: string | null }) {
  const verdict = verdictOf(props.again, props.text, props.edition);
  const other = modelNamed([props.model], props.again.model) === null;
  return (
    <p className={`verdict ${verdict}`}>
      {verdict === "same" && "✓ This is the very text that was sent to you, word for word."}
      {verdict !== "same" && other && "This is not the text that was sent: another model has written it."}
      {verdict === "other-edition" &&
        !other &&
        "This is not the text that was sent: the model has been trained anew since, and writes something else now."}
      {verdict === "different" &&
        !other &&
        "This is not the text that was sent: somebody changed the link, or it was made on a machine that counts differently."}
    </p>
  );
}
