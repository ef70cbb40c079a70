-- One apply at a time, without keeping readers out.
LOCK TABLE config_versions IN SHARE ROW EXCLUSIVE MODE
