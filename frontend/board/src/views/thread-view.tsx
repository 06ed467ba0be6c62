import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { go } from "../routes.ts";
import { counted } from "../text/dates.ts";
import { SureButton } from "../parts/sure-button.tsx";
import { ThreadPosts } from "./thread.tsx";

/** One thread, all of it. */
export function ThreadView({ id }: { id: string }) {
  const space = useSpace();
  const { threads } = useStore(space.threads.state);
  const thread = threads.find((one) => one.id === id);
  if (!thread)
    return (
      <section className="page-text">
        <h2>This thread is not here</h2>
        <p>
          Threads are kept in the browser that they were made in; it was deleted, or it is another one’s.{" "}
          <a href="#/threads">Your threads</a>
        </p>
      </section>
    );
  return (
    <>
      <div className="view-head">
        <h2>Thread, {counted(thread.posts.length, "post")}</h2>
        <p>
          <a href="#/threads">All threads</a>
          <SureButton
            className="act"
            sure="Really delete all of it?"
            onSure={() => {
              void space.deleteThread(id);
              go({ name: "threads" });
            }}
          >
            Delete thread
          </SureButton>
        </p>
      </div>
      <ThreadPosts thread={thread} />
    </>
  );
}
