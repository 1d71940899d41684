package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// scratch makes n tables with new names; shape is what follows the name.
func (c *cluster) scratch(ctx context.Context, n int, shape string) (tables []string, err error) {
	db, err := openPgxPool(c.dsn, 1)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for range n {
		t := "groupcommit_bench_" + strings.ToLower(rand.Text()[:12])
		if _, err := db.ExecContext(ctx, "CREATE TABLE "+t+" "+shape); err != nil {
			return nil, errors.Join(err, c.clear(tables...))
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// fill executes texts in which T stands for a table.
func (c *cluster) fill(ctx context.Context, texts, table string) error {
	db, err := openPgxPool(c.dsn, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	for text := range strings.SplitSeq(texts, ";") {
		words := strings.Fields(text)
		for i := range words {
			if words[i] == "T" {
				words[i] = table
			}
		}
		if len(words) == 0 {
			continue
		}
		if _, err := db.ExecContext(ctx, strings.Join(words, " ")); err != nil {
			return err
		}
	}
	return nil
}

// clear drops tables. It works also after an interrupt.
func (c *cluster) clear(tables ...string) error {
	if len(tables) == 0 {
		return nil
	}
	db, err := openPgxPool(c.dsn, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, "DROP TABLE IF EXISTS "+strings.Join(tables, ", ")); err != nil {
		return fmt.Errorf("left on the server: %s: %w", strings.Join(tables, ", "), err)
	}
	return nil
}

// eachOnce makes sure that a table has the number of every call exactly once, and no other number. Of a call that failed
// nobody knows.
func (c *cluster) eachOnce(ctx context.Context, table string, by *contender) error {
	made, failed := int(by.made.Load()), by.faults.count()
	return c.someOnce(ctx, table, by, made-failed, made)
}

// someOnce is eachOnce where so many of the calls are to have left their numbers.
func (c *cluster) someOnce(ctx context.Context, table string, by *contender, least, most int) error {
	if ctx.Err() != nil {
		return nil
	}
	db, err := openPgxPool(c.dsn, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	var rows, different, foreign int
	if err := db.QueryRowContext(ctx, "SELECT count(*), count(DISTINCT value), count(*) FILTER (WHERE value IS NULL OR value < 0 OR value >= $1) FROM "+table,
		by.made.Load()).Scan(&rows, &different, &foreign); err != nil {
		return err
	}
	if rows != different || foreign > 0 || rows < least || rows > most {
		return fmt.Errorf("the database is wrong: %s has to have %s to %s rows, and there are %s, %s of them different, %s never inserted",
			by.name, comma(least), comma(most), comma(rows), comma(different), comma(foreign))
	}
	return nil
}

// way opens a way to the server that is so long. It goes by the socket of a server of our own: two sockets together cost
// about what the one TCP connection costs that they stand for.
func (c *cluster) way(trip time.Duration) (*way, error) {
	if c.server != nil && c.server.Socket() != "" {
		return newWay("unix", c.server.Socket(), trip)
	}
	config, err := pgx.ParseConfig(c.dsn)
	if err != nil {
		return nil, err
	}
	network, address := "tcp", net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	if strings.HasPrefix(config.Host, "/") {
		network, address = "unix", fmt.Sprintf("%s/.s.PGSQL.%d", config.Host, config.Port)
	}
	return newWay(network, address, trip)
}
