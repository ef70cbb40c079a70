-- One apply at a time, and no organisation gets a plan meanwhile; readers go on.
LOCK TABLE plan_versions IN SHARE ROW EXCLUSIVE MODE
