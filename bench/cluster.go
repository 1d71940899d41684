package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/internal/pgtest"
)

// cluster is the place for PostgreSQL: a server, with a new table for every run.
type cluster struct {
	dsn    string
	server *pgtest.Server // the throwaway one; nil when the DSN was given

	version     string
	fsync       string
	synchronous string // synchronous_commit, as a connection of this DSN has it
	folder      string // the throwaway server's data
	room        int    // for connections
}

// newCluster connects to the server of the DSN, or starts a server if the DSN is "".
func newCluster(ctx context.Context, dsn string) (place, error) {
	c, err := startCluster(ctx, dsn, 0)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// startingServer is said while a user waits for a server of our own.
const startingServer = "Starting a PostgreSQL server."

// startCluster is newCluster whose own server allows so many connections; 0 is pgtest's number of them.
func startCluster(ctx context.Context, dsn string, most int) (*cluster, error) {
	c := &cluster{dsn: dsn}
	if dsn == "" {
		server, err := pgtest.Start(pgtest.Options{MaxConnections: most})
		if errors.Is(err, pgtest.ErrNotInstalled) {
			return nil, errors.New(forTheProgram.Replace(err.Error()))
		} else if err != nil {
			return nil, err
		}
		c.server, c.dsn = server, server.DSN()
	}
	if err := c.ask(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// forTheProgram turns pgtest's advice into advice for a user of this program.
var forTheProgram = strings.NewReplacer("pgtest: ", "", "in "+pgtest.EnvServer, "with --dsn")

// ask reads the facts about a server that are printed.
func (c *cluster) ask(ctx context.Context) error {
	db, err := openPgxPool(c.dsn, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.QueryRowContext(ctx, `SELECT current_setting('server_version'), current_setting('fsync'),
		current_setting('synchronous_commit'),
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
			- (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')`).
		Scan(&c.version, &c.fsync, &c.synchronous, &c.room); err != nil {
		return err
	}
	if c.server == nil {
		return nil
	}
	return db.QueryRowContext(ctx, "SHOW data_directory").Scan(&c.folder)
}

// usualConns is the size of the plain driver's pool where only one size is measured.
const usualConns = 16

func (c *cluster) sides(api string) []side {
	if api == viaCommands {
		return []side{pgxPlain(usualConns), pgxGrouped.titled("Exec"), pgxHandled}
	}
	return []side{pgxPlain(usualConns), pgxGrouped, pgxBatch}
}

func (c *cluster) settings(config) string {
	s := fmt.Sprintf("fsync=%s, synchronous_commit=%s on all sides", c.fsync, c.synchronous)
	if c.fsync != "on" || c.synchronous == "off" {
		s += ": commits are not synced before they are answered"
	}
	return s
}

func (c *cluster) where() (label, text string) {
	if c.server == nil {
		return "server", "PostgreSQL " + c.version + ", the one of --dsn"
	}
	return "server", "PostgreSQL " + c.version + ", a throwaway cluster in " + folder(c.folder)
}

// disk is where a server of our own has its data; another's is not known.
func (c *cluster) disk() string {
	if c.server == nil {
		return ""
	}
	return c.folder
}

func (c *cluster) processes() *processes {
	if c.server == nil {
		return nil
	}
	return processesOf(c.folder)
}

// price says what a sync costs on the server's disk, and whether the server's processor time is known.
func (c *cluster) price() string {
	text := "A sync on the server's disk: not known."
	if folder := c.disk(); folder != "" {
		text = fmt.Sprintf("A sync on the server's disk: %s.", syncPrice(folder))
	}
	if c.processes() == nil {
		text += " The server's processor time: not known."
	}
	return text
}

func (c *cluster) close() error {
	if c.server == nil {
		return nil
	}
	return c.server.Close()
}

func (c *cluster) plain(h home) (*sql.DB, error) { return openPgxPool(h.name, 1) }

// home has a table with a new name: the tables that the server holds already are not touched.
func (c *cluster) home(r *run) (home, error) {
	table := "groupcommit_bench_users_" + strings.ToLower(rand.Text()[:12])
	violation := isState("23505")
	if r.failure != nil {
		violation = r.failure.is
	}
	texts := shapeTexts{exec: "INSERT INTO " + table + " (value) VALUES ($1)", unnest: "INSERT INTO " + table + " (value) SELECT unnest($1::bigint[])"}
	if r.shape != nil {
		texts = r.shape.texts(pgxDriver, table)
	}
	return home{
		name:        c.dsn,
		table:       table,
		insert:      texts.exec,
		reads:       texts.reads,
		unnest:      texts.unnest,
		synchronous: c.synchronous,
		prepare:     func(ctx context.Context, db *sql.DB) error { return c.prepare(ctx, db, table, r) },
		violation:   violation,
		remove:      func() error { return c.drop(table) },
	}, nil
}

// prepare makes the table, and makes sure that the output tells the true settings.
func (c *cluster) prepare(ctx context.Context, db *sql.DB, table string, r *run) error {
	unique := ""
	if r.clash > 0 && r.failure == nil {
		unique = " UNIQUE"
	}
	create := "CREATE TABLE " + table + " (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value bigint" + unique + ")"
	if r.shape != nil {
		create = r.shape.texts(pgxDriver, table).create
	}
	for text := range strings.SplitSeq(create, "; ") {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	if r.failure != nil {
		if _, err := db.ExecContext(ctx, r.failure.named(r.failure.setup, table)); err != nil {
			return err
		}
	} else if r.clash > 0 {
		if _, err := db.ExecContext(ctx, "INSERT INTO "+table+" (value) VALUES ($1)", int64(taken)); err != nil {
			return err
		}
	}
	var synchronous string
	if err := db.QueryRowContext(ctx, "SHOW synchronous_commit").Scan(&synchronous); err != nil {
		return err
	}
	if synchronous != c.synchronous {
		return fmt.Errorf("the settings did not take: synchronous_commit is %s, not %s", synchronous, c.synchronous)
	}
	return nil
}

// drop works also after an interrupt.
func (c *cluster) drop(table string) error {
	db, err := openPgxPool(c.dsn, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, "DROP TABLE IF EXISTS "+table+", "+table+"_f, "+table+"_ids; DROP FUNCTION IF EXISTS "+table+"_raise"); err != nil {
		return fmt.Errorf("table %s is left on the server: %w", table, err)
	}
	return nil
}
