// Command dashboard serves the page of package debug, for a small shop that many callers use at the same time. Open the address that it
// prints in a browser. Ctrl-C ends it, and removes its database.
//
//	go run ./examples/dashboard
//	go run ./examples/dashboard --callers=500 --addr=127.0.0.1:9000
//	go run ./examples/dashboard --for=30s
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/debug"
	_ "github.com/groupcommit/groupcommit/sqlite3"
)

const (
	path        = "/debug/groupcommit/"
	mostCallers = 10_000
)

// config is what the command line says.
type config struct {
	addr    string
	callers int
	lasts   time.Duration // 0: until Ctrl-C
}

// run serves the page while the callers use the shop, until ctx ends. The database is gone afterwards.
func run(ctx context.Context, c config, out io.Writer) (err error) {
	listener, err := net.Listen("tcp", c.addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	dir, err := os.MkdirTemp("", "dashboard")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	// The page watches the shop's database while it is opened, and shows it from Add on.
	page := debug.New()
	dsn := filepath.Join(dir, "shop.db") + "?_journal=WAL&_synchronous=FULL"
	db, err := groupcommit.Open("sqlite3", dsn, groupcommit.Promises(), groupcommit.Retention(time.Minute), page.Watch("shop"))
	if err != nil {
		return err
	}
	defer db.Close()
	shop, err := openShop(ctx, db)
	if err != nil {
		return err
	}
	if err := page.Add("shop", db); err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle(path, page) // a program that others reach asks here who they are
	mux.Handle("/{$}", http.RedirectHandler(path, http.StatusFound))
	server := http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(out, "http://%s%s shows the shop; Ctrl-C ends it.\n", listener.Addr(), path)

	if c.lasts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.lasts)
		defer cancel()
	}
	err = shop.open(ctx, c.callers)
	return errors.Join(err, server.Close(), ended(<-served))
}

// ended is nil for a server that was closed.
func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// parse reads a command line. ok is false after --help.
func parse(args []string, out io.Writer) (c config, ok bool, err error) {
	c = config{addr: "127.0.0.1:8080", callers: 64}
	flags := flag.NewFlagSet("dashboard", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is printed once, by main
	flags.Func("addr", "serve the page at `HOST:PORT` of this machine only; port 0 is any (default 127.0.0.1:8080)", func(s string) error {
		c.addr = s
		return checkAddr(s)
	})
	flags.Func("callers", "use the shop by `N` goroutines, 1 to 10000 (default 64)", func(s string) (err error) {
		if c.callers, err = strconv.Atoi(s); err != nil || c.callers < 1 || c.callers > mostCallers {
			return fmt.Errorf("a whole number from 1 to %d is allowed", mostCallers)
		}
		return nil
	})
	flags.Func("for", "end after a `DURATION` such as 30s (default: at Ctrl-C)", func(s string) (err error) {
		if c.lasts, err = time.ParseDuration(s); err != nil || c.lasts <= 0 {
			return errors.New("a duration of more than 0, such as 30s, is allowed")
		}
		return nil
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		flags.PrintDefaults()
		return c, false, nil
	case err != nil:
		return c, false, err
	case flags.NArg() > 0:
		return c, false, fmt.Errorf("unexpected argument %q; only the flags --addr, --callers and --for are allowed", flags.Arg(0))
	}
	return c, true, nil
}

// checkAddr refuses what others could reach: the page shows the texts of statements, and asks nobody who they are.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("an address such as 127.0.0.1:8080 is allowed")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("a port from 0 to 65535 is allowed")
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return errors.New("only an address of this machine itself is allowed: 127.0.0.1, [::1] or localhost")
	}
	return nil
}

func start(ctx context.Context, args []string, out io.Writer) error {
	c, ok, err := parse(args, out)
	if err != nil || !ok {
		return err
	}
	return run(ctx, c, out)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(2)
	}
}
