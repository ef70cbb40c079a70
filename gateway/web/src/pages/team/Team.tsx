import { Page } from "../../components/Page";

export default function Team() {
  return <Page title="Team">{null}</Page>;
}
