/* One case: its text with the findings, where it comes from, and what was decided. */
import { CaseState, PostState, Verdict, type Author, type Case, type Post } from "@promptmesh/client";
import { useEffect, useState } from "preact/hooks";
import { counted } from "../../components/amounts";
import { classes } from "../../components/classes";
import { Badge, ErrorNote, Note, Skeleton } from "../../components/Pieces";
import { Time } from "../../components/Time";
import { to } from "../../router/routes";
import { api } from "../../state/api";
import { user } from "../../state/session";
import { Decide } from "./Decide";
import { MarkedText } from "./MarkedText";
import { lacksText, look, lookAhead, policy } from "./store";
import { ACTIONS, CATEGORIES, VERDICTS } from "./words";
import css from "./moderation.module.css";

export function CaseView({ one }: { one: Case }) {
  const [active, activate] = useState<number>();
  const [error, setError] = useState<unknown>();
  const read = () => {
    setError(undefined);
    look(one).then(lookAhead, setError);
  };
  useEffect(read, [one.caseId]);
  return (
    <article class={css["case"]} aria-labelledby="case-title">
      <header class="stack">
        <h2 id="case-title" tabIndex={-1} class={css["case-title"]}>
          {one.title || "A post whose text is gone"}
        </h2>
        <History one={one} />
      </header>
      <Standing one={one} />
      {lacksText(one) ? (
        error === undefined ? (
          <Skeleton lines={4} label="Loading the text" />
        ) : (
          <ErrorNote title="The text could not be read" error={error} retry={read} />
        )
      ) : !one.text ? (
        <p class="soft">The post was deleted or edited, and its text went with it.</p>
      ) : (
        <>
          <MarkedText one={one} active={active} />
          <Findings one={one} active={active} activate={activate} />
        </>
      )}
      {one.state === CaseState.OPEN && <Decide key={one.caseId} one={one} />}
    </article>
  );
}

/** Whose it is, since when it waits, and what is known of the post and its author. */
function History({ one }: { one: Case }) {
  const [post, setPost] = useState<Post>();
  const [author, setAuthor] = useState<Author | "nothing">();
  useEffect(() => {
    const leaving = new AbortController();
    const options = { signal: leaving.signal };
    // Both only add to the case: where one cannot be read, its words are missing.
    api.posts.getPost({ postId: one.postId }, options).then(setPost, () => undefined);
    const nobody = () => leaving.signal.aborted || setAuthor("nothing");
    api.posts.getAuthor({ authorId: one.authorId }, options).then(setAuthor, nobody);
    return () => leaving.abort();
  }, [one.postId, one.authorId]);
  const before = post && post.publishedRevision > 0 && post.publishedRevision < one.revision;
  return (
    <dl class={css["history"]}>
      <div>
        <dt>Author</dt>
        <dd>
          <a href={to.person(one.authorId)}>{one.authorName || "Unknown"}</a>
          {author && (
            <span class="faint">
              {author === "nothing"
                ? " · nothing published yet"
                : ` · ${author.publishedCount} published, ${counted(author.likeCount, "like")}`}
            </span>
          )}
        </dd>
      </div>
      <div>
        <dt>Post</dt>
        <dd>
          <a href={to.post(one.postId)}>Revision {one.revision}</a>
          <span class="faint">
            {before && ` · revision ${post.publishedRevision} is published`}
            {post && post.revision > one.revision && ` · revision ${post.revision} has come since`}
            {post?.state === PostState.DELETED && " · deleted"}
          </span>
        </dd>
      </div>
      <div>
        <dt>Held</dt>
        <dd>
          <Time at={one.createTime} /> <span class="faint">by policy {policyWords(one.policyVersion)}</span>
        </dd>
      </div>
    </dl>
  );
}

function policyWords(version: string): string {
  const now = policy.value?.version.toString();
  return now && now !== version ? `version ${version}; version ${now} holds now` : `version ${version}`;
}

/** What has become of a case that is not open. */
function Standing({ one }: { one: Case }) {
  if (one.state === CaseState.OPEN) return null;
  if (one.state === CaseState.OBSOLETE) {
    return (
      <div role="status">
        <Note tone="warn" title="This case needs no decision">
          <p>
            The post was edited or deleted <Time at={one.resolveTime} />.
          </p>
        </Note>
      </div>
    );
  }
  const { words, tone } = VERDICTS[one.decision];
  const own = one.resolverId === user.value?.userId;
  return (
    <div role="status">
      <Note tone={tone} title={`${words} by ${own ? "you" : "another moderator"}`}>
        <p>
          <Time at={one.resolveTime} />
          {!own && (
            <span class="faint small">
              {" "}
              · <code>{one.resolverId}</code>
            </span>
          )}
        </p>
        {one.note && <p class={css["note-text"]}>Note: {one.note}</p>}
      </Note>
    </div>
  );
}

interface FindingsProps {
  one: Case;
  active: number | undefined;
  activate: (number: number | undefined) => void;
}

function Findings({ one, active, activate }: FindingsProps) {
  const show = (number: number) => {
    const next = active === number ? undefined : number;
    activate(next);
    if (next === undefined) return;
    const marks = [...document.querySelectorAll<HTMLElement>("[data-findings]")];
    const mark = marks.find((piece) => piece.dataset["findings"]!.split(" ").includes(String(number + 1)));
    mark?.scrollIntoView({ block: "nearest" });
  };
  return (
    <ol class={css["findings"]} aria-label="Findings">
      {one.findings.map((found, number) => (
        <li key={number}>
          <button type="button" class={css["finding"]} aria-pressed={active === number} onClick={() => show(number)}>
            <span class={classes(css["number"], found.verdict === Verdict.REJECT && css["grave"])}>{number + 1}</span>
            <span class={css["finding-words"]}>
              <span class={css["finding-top"]}>
                <strong>{CATEGORIES[found.category] ?? "Other"}</strong>
                <Badge tone={found.verdict === Verdict.REJECT ? "bad" : "warn"}>{ACTIONS[found.verdict]}</Badge>
                <span class="faint numbers">{Math.round(found.score * 100)} %</span>
              </span>
              <span class={css["rule"]}>
                Rule <code>{found.rule}</code>, policy {found.policyVersion}
              </span>
              {found.message && <span class="soft">{found.message}</span>}
            </span>
          </button>
        </li>
      ))}
    </ol>
  );
}
