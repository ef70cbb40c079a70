/* A new post. What is typed is kept until it has been sent; sending it twice makes one post. */
import { newRequestId } from "@promptmesh/client";
import { useEffect, useRef } from "preact/hooks";
import { Form, SubmitButton, useForm, useUnsaved } from "../../components/form";
import { Page } from "../../components/Page";
import { check, contentOf, sameContent, valuesOf, type Content, type PostValues } from "../../posts/content";
import { DraftNote } from "../../posts/DraftNote";
import { livePost } from "../../posts/live";
import { PostFields } from "../../posts/PostFields";
import { navigate } from "../../router/router";
import { to } from "../../router/routes";
import { api } from "../../state/api";
import { dropDraft, keepDraft, readDraft } from "../../state/drafts";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";

const SENT = "write-sent";

export default function Write() {
  const here = useRef(true);
  useEffect(() => () => void (here.current = false), []);
  const form = useForm<PostValues>({
    name: "write",
    initial: valuesOf({ title: "", body: "", tags: [] }),
    check,
    submit: async (values) => {
      const content = contentOf(values);
      const post = await api.posts.createPost({ ...content, requestId: requestIdOf(content) });
      dropDraft(SENT);
      livePost(post.postId, user.value?.userId ?? "").take(post);
      const show = () => navigate(to.post(post.postId), { replace: here.current });
      if (here.current) show();
      else toast("Your post was sent.", { action: { label: "Show it", run: show } });
    },
  });
  useUnsaved(form.changed);
  return (
    <Page title="Write a post" acts lead="It is checked first, mostly within seconds. Then everyone sees it, with an example of what it produces.">
      <DraftNote form={form} />
      <Form form={form} label="Write a post">
        <PostFields form={form} />
        <div class="row">
          <SubmitButton form={form}>Publish</SubmitButton>
        </div>
      </Form>
    </Page>
  );
}

/** One id for one content, whatever happens on the way: sent again after a lost answer or a reload, it is the same post. */
function requestIdOf(content: Content): string {
  const sent = readDraft<{ content: Content; requestId: string }>(SENT);
  if (sent && sameContent(sent.content, content)) return sent.requestId;
  const requestId = newRequestId();
  keepDraft(SENT, { content, requestId });
  return requestId;
}
