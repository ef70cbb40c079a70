import type { Post } from "@promptmesh/client";
import { Button } from "../../components/Button";
import { CopyButton } from "../../components/CopyButton";
import { isAbort } from "../../components/problems";
import { to } from "../../router/routes";
import { toast } from "../../state/toasts";

/** The post's link: to copy, and to hand to other apps where the device can. */
export function ShareButtons({ post }: { post: Post }) {
  const url = location.origin + to.post(post.postId);
  const share = async () => {
    try {
      await navigator.share({ title: post.title, url });
    } catch (error) {
      if (!isAbort(error)) toast("Sharing did not work. Copy the link instead.", { kind: "problem" });
    }
  };
  return (
    <>
      <CopyButton text={url} label="Copy link" />
      {"share" in navigator && (
        <Button size="s" kind="quiet" icon="link" onClick={() => void share()}>
          Share
        </Button>
      )}
    </>
  );
}
