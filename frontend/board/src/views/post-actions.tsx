import { type ReactNode, useState } from "react";

import type { Opinion } from "../contract.ts";
import { type Post, againOf, numberOf } from "../keep/thread.ts";
import { type Command, keyOf } from "../keymap.ts";
import { copyPicture, copyText, download } from "../parts/clipboard.ts";
import { SureButton } from "../parts/sure-button.tsx";
import { picture } from "../picture/draw.ts";
import { hashOf } from "../routes.ts";
import { type Place, type Space, useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { shown } from "../text/lines.ts";
import { queryOf } from "../write/again.ts";

interface ActionsProps {
  post: Post;
  place: Place;
  onContinue: () => void;
}

/** What can be done with a post that has ended. */
export function PostActions({ post, place, onContinue }: ActionsProps) {
  const space = useSpace();
  const { kept } = useStore(space.keeping);
  const [link, setLink] = useState<string | null>(null);
  const known = post.id !== null && kept;
  const address = linkOf(post);
  return (
    <footer className="actions">
      {known && (
        <span className="group">
          <Rate post={post} place={place} opinion="good" label="Good" />
          <Rate post={post} place={place} opinion="bad" label="Bad" />
        </span>
      )}
      <span className="group">
        {post.prompt !== null && (
          <Act
            command="retry"
            title="The same beginning, another text"
            onClick={() => void space.retry(post, place)}
          >
            Retry
          </Act>
        )}
        <Act command="continue" title="Go on from a line" onClick={onContinue}>
          Continue
        </Act>
      </span>
      <span className="group">
        <Act
          command="copy"
          title="Copy the text"
          onClick={() => void copy(space, shown(post.text), "The text")}
        >
          Copy
        </Act>
        <Act title="As a picture, to keep or to post" onClick={() => void savePicture(space, post)}>
          PNG
        </Act>
        {address !== null && (
          <Act
            title="A link that shows this very text to somebody else"
            onClick={() =>
              void copy(space, address, "The link").then((copied) => {
                setLink(copied ? null : address);
              })
            }
          >
            Link
          </Act>
        )}
      </span>
      <span className="group">
        {known && post.mine && (
          <Act
            pressed={post.shared}
            title={post.shared ? "Take it off the board" : "Let others see it"}
            onClick={() => void space.share(post, !post.shared, place)}
          >
            {post.shared ? (post.onBoard ? "On the board" : "Offered to the board") : "Put on the board"}
          </Act>
        )}
        {(place.thread !== null || (known && post.mine)) && (
          <SureButton className="act" sure="Really delete?" onSure={() => void space.deletePost(post, place)}>
            Delete
          </SureButton>
        )}
      </span>
      {link !== null && (
        <label className="link-field">
          Copy this link:
          <input
            readOnly
            value={link}
            ref={(field) => {
              field?.select();
            }}
          />
        </label>
      )}
    </footer>
  );
}

function Rate({
  post,
  place,
  opinion,
  label,
}: {
  post: Post;
  place: Place;
  opinion: Opinion;
  label: string;
}) {
  const space = useSpace();
  const count = post[opinion];
  return (
    <Act
      command={opinion}
      pressed={post.rating === opinion}
      className={opinion}
      onClick={() => void space.rate(post, opinion, place)}
    >
      {label}
      {count !== null && count > 0 && <span className="count"> {count}</span>}
    </Act>
  );
}

function Act(props: {
  children: ReactNode;
  onClick: () => void;
  command?: Command;
  title?: string;
  pressed?: boolean;
  className?: string;
}) {
  const key = props.command === undefined ? "" : keyOf(props.command);
  const hint = [props.title, key === "" ? "" : `(${key})`].filter(Boolean).join(" ");
  return (
    <button
      type="button"
      className={`act ${props.className ?? ""}`}
      data-command={props.command}
      aria-keyshortcuts={key || undefined}
      aria-pressed={props.pressed}
      title={hint || undefined}
      onClick={props.onClick}
    >
      {props.children}
    </button>
  );
}

/** To the post, where others can see it; else to write it again. Null where neither is known. */
function linkOf(post: Post): string | null {
  const here = location.href.replace(/#.*$/, "");
  if (post.onBoard && post.id !== null) return here + hashOf({ name: "post", id: post.id });
  const again = againOf(post);
  return again && here + hashOf({ name: "again", query: queryOf(again) });
}

async function copy(space: Space, text: string, what: string): Promise<boolean> {
  const copied = await copyText(text);
  space.say(copied ? `${what} is on the clipboard.` : `${what} could not be copied by itself.`);
  return copied;
}

async function savePicture(space: Space, post: Post): Promise<void> {
  try {
    const image = await picture(post);
    download(image, `greentext-${numberOf(post)}.png`);
    const copied = await copyPicture(image);
    space.say(copied ? "The picture is saved, and on the clipboard." : "The picture is saved.");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    space.say(`No picture: ${error.message}.`);
  }
}
