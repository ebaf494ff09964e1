-- +goose Up

-- Several servers on one database. What devices report is stamped with the transaction that wrote it, so that the other
-- servers find it whatever the order is in which transactions end: see Changes in package store. A trigger does it, so
-- that no statement can forget it, nor a server of the release before.
ALTER TABLE contacts ADD COLUMN stamp XID8 NOT NULL DEFAULT '0';
ALTER TABLE contacts ADD COLUMN refresh BIGINT NOT NULL DEFAULT 0; -- when somebody asked for a fresh look at the repositories; microseconds since 1970
ALTER TABLE contacts ADD COLUMN rehearse BIGINT NOT NULL DEFAULT 0; -- likewise, to rehearse its plan
ALTER TABLE rehearsals ADD COLUMN stamp XID8 NOT NULL DEFAULT '0';
ALTER TABLE installs ADD COLUMN stamp XID8 NOT NULL DEFAULT '0';
ALTER TABLE updates ADD COLUMN stamp XID8 NOT NULL DEFAULT '0';
ALTER TABLE rollouts ADD COLUMN stamp XID8 NOT NULL DEFAULT '0';
ALTER TABLE reports ADD COLUMN stamp XID8 NOT NULL DEFAULT '0';
ALTER TABLE reports ALTER COLUMN stamp SET DEFAULT pg_current_xact_id(); -- rows are never changed

-- How often a row was written: who writes it anew says from which version on.
ALTER TABLE installs ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE updates ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE rollouts ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

-- +goose StatementBegin
CREATE FUNCTION stamped() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.stamp := pg_current_xact_id(); RETURN NEW; END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION stamped_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.stamp := pg_current_xact_id();
    IF TG_OP = 'UPDATE' THEN NEW.version := OLD.version + 1; END IF;
    RETURN NEW;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER contacts_stamped BEFORE INSERT OR UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION stamped();
CREATE TRIGGER rehearsals_stamped BEFORE INSERT OR UPDATE ON rehearsals FOR EACH ROW EXECUTE FUNCTION stamped();
CREATE TRIGGER installs_stamped BEFORE INSERT OR UPDATE ON installs FOR EACH ROW EXECUTE FUNCTION stamped_version();
CREATE TRIGGER updates_stamped BEFORE INSERT OR UPDATE ON updates FOR EACH ROW EXECUTE FUNCTION stamped_version();
CREATE TRIGGER rollouts_stamped BEFORE INSERT OR UPDATE ON rollouts FOR EACH ROW EXECUTE FUNCTION stamped_version();

CREATE INDEX contacts_stamp ON contacts (stamp);
CREATE INDEX rehearsals_stamp ON rehearsals (stamp);
CREATE INDEX installs_stamp ON installs (stamp);
CREATE INDEX updates_stamp ON updates (stamp);
CREATE INDEX rollouts_stamp ON rollouts (stamp);
CREATE INDEX reports_stamp ON reports (stamp) WHERE event IN ('illegal_transition', 'plan_refused', 'rollback_done');

-- Each time that a lease changes hands its token grows; what its holder writes is refused once it has grown.
ALTER TABLE leases ADD COLUMN token BIGINT NOT NULL DEFAULT 0;

-- What all servers of the installation have in common and no act says.
CREATE TABLE installation (
    one  BIGINT PRIMARY KEY CHECK (one = 1),
    body TEXT NOT NULL
);
