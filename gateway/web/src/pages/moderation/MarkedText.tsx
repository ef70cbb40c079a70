/* The text that was screened, with what rules found marked and what is invisible named. Text is only ever a child. */
import { Verdict, type Case } from "@promptmesh/client";
import { useMemo } from "preact/hooks";
import { classes } from "../../components/classes";
import { glyphs, pieces, type Piece } from "./marked";
import css from "./moderation.module.css";

export function MarkedText({ one, active }: { one: Case; active: number | undefined }) {
  const cut = useMemo(() => pieces(one.text, one.findings), [one]);
  return (
    <figure class={css["screened"]}>
      <div class={css["marked"]} tabIndex={0} role="region" aria-label="Text that was screened">
        {cut.map((piece, at) =>
          piece.findings.length ? <Mark key={at} {...{ one, piece, active }} /> : <Glyphs key={at} text={piece.text} />,
        )}
      </div>
      <figcaption class="faint small">As it was screened: title, body, tags and author's name.</figcaption>
    </figure>
  );
}

function Mark({ one, piece, active }: { one: Case; piece: Piece; active: number | undefined }) {
  const reject = piece.findings.some((number) => one.findings[number]?.verdict === Verdict.REJECT);
  const names = piece.findings.map((number) => `${number + 1}: ${one.findings[number]?.rule}`).join("\n");
  return (
    <mark
      class={classes(
        reject && css["grave"],
        piece.findings.length > 1 && css["overlap"],
        active !== undefined && piece.findings.includes(active) && css["active"],
      )}
      data-findings={piece.findings.map((number) => number + 1).join(" ")}
      title={names}
    >
      {piece.begins.map((number) => (
        <sup key={number} class={css["number"]}>
          <span class="visually-hidden">finding </span>
          {number + 1}
        </sup>
      ))}
      <Glyphs text={piece.text} />
    </mark>
  );
}

function Glyphs({ text }: { text: string }) {
  return (
    <>
      {glyphs(text).map(({ kind, text: shown, name }, at) => {
        if (kind === "plain") return shown;
        if (kind === "line") {
          return (
            <span key={at}>
              <span class={css["line-end"]} aria-hidden="true">
                ↵
              </span>
              {"\n"}
            </span>
          );
        }
        return (
          <span key={at} class={css[kind]} title={name}>
            <span aria-hidden="true">{shown}</span>
            <span class="visually-hidden">{` (${name}) `}</span>
          </span>
        );
      })}
    </>
  );
}
