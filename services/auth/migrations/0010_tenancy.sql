-- Teams whose every owner is suspended; who owns what, and which invitations went to whom. Only adds.

-- Until when all of its owners are suspended (in the past: no more); null: one of them is not. A change of it moves
-- plan_change_time, as a change of the plan does.
ALTER TABLE organisations ADD COLUMN suspend_time timestamptz;
CREATE INDEX organisations_suspended ON organisations (suspend_time) WHERE suspend_time IS NOT NULL;
UPDATE organisations o
   SET suspend_time = s.until, plan_change_time = clock_timestamp(), version = o.version + 1
  FROM (SELECT m.org_id, min(u.suspend_time) AS until
          FROM members m JOIN users u USING (user_id)
         WHERE m.role = 1
         GROUP BY m.org_id
        HAVING bool_and(coalesce(u.suspend_time > now(), false))) s
 WHERE o.org_id = s.org_id;

CREATE INDEX members_owners ON members (user_id, org_id) WHERE role = 1; -- which teams somebody owns
CREATE INDEX invitations_by_email ON invitations (email); -- those to a person who goes
CREATE INDEX invitations_by_inviter ON invitations (inviter_id); -- those of a person who goes
CREATE INDEX mails_to ON mails (recipient); -- those to a person who goes, sent before they had an account or by others
CREATE INDEX invitations_of_org ON invitations (org_id, invitation_id); -- pages of them
