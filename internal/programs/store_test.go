package programs

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var seed = flag.Uint64("programs.seed", 1, "the seed of the programs")

// stores are the libraries, each as it is opened on a side.
var stores = map[string]func(t *testing.T, s side) (Store, *sql.DB){
	"gorm": func(t *testing.T, s side) (Store, *sql.DB) {
		store, err := OpenGORM(s.engine, s.driver, s.dsn, false)
		require.NoError(t, err)
		db, err := store.DB()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		s.bound(db)
		return store, db
	},
	"gorm without its default transaction": func(t *testing.T, s side) (Store, *sql.DB) {
		db := s.open(t)
		store, err := NewGORM(s.engine, db, true)
		require.NoError(t, err)
		return store, db
	},
	"bun":  onDB(func(e Engine, db *sql.DB) Store { return NewBun(e, db) }),
	"ent":  onDB(func(e Engine, db *sql.DB) Store { return NewEnt(e, db) }),
	"sqlc": onDB(func(e Engine, db *sql.DB) Store { return NewSQLC(e, db) }),
}

func onDB(make func(e Engine, db *sql.DB) Store) func(t *testing.T, s side) (Store, *sql.DB) {
	return func(t *testing.T, s side) (Store, *sql.DB) {
		db := s.open(t)
		return make(s.engine, db), db
	}
}

// A caller is one goroutine of the program. It works on users of its own, whose names no other caller uses, so that its
// answers do not depend on the others: all but the keys are the same on every driver.
type caller struct {
	store  Store
	owner  int64
	shared int64 // the key of a user that all callers give to
	rand   *rand.Rand
	users  []User // of this caller, as they have to be
	made   int
	log    []string // the answers, without the keys
}

const steps = 10

func (c *caller) run(ctx context.Context) error {
	for range steps {
		if err := c.step(ctx); err != nil {
			return fmt.Errorf("caller %d after %q: %w", c.owner, c.log, err)
		}
	}
	return nil
}

// step makes one call, and returns an error if an answer is wrong by itself.
func (c *caller) step(ctx context.Context) error {
	if len(c.users) < 2 {
		return c.create(ctx)
	}
	i, j := c.rand.IntN(len(c.users)), c.rand.IntN(len(c.users))
	mine := &c.users[i]
	switch c.rand.IntN(12) {
	default:
		return c.create(ctx)
	case 3:
		return c.createAll(ctx)
	case 4:
		return c.find(ctx, *mine)
	case 5, 6:
		name := c.name()
		if c.rand.IntN(3) == 0 {
			name = c.users[j].Name // taken, or its own
		}
		n, err := c.store.Rename(ctx, mine.ID, name)
		c.note("rename", n, err)
		if err == nil {
			mine.Name = name
		}
	case 7:
		n, err := c.store.Delete(ctx, mine.ID)
		c.note("delete", n, err)
		c.users = append(c.users[:i], c.users[i+1:]...)
	case 8, 9:
		amount := c.rand.Int64N(120)
		err := c.store.Move(ctx, mine.ID, c.shared, amount)
		c.note("move", mine.Balance-amount, err)
		if errors.Is(err, ErrPoor) != (mine.Balance < amount) {
			return fmt.Errorf("%d of %d: %w", amount, mine.Balance, err)
		}
		if err == nil {
			mine.Balance -= amount
		}
	case 10:
		over, cancel := context.WithCancel(ctx)
		cancel()
		c.note("too late", 0, c.store.Create(over, c.user(c.name())))
	case 11:
		return c.createNested(ctx)
	}
	return nil
}

func (c *caller) name() string {
	c.made++
	return fmt.Sprintf("user %d of %d", c.made, c.owner)
}

func (c *caller) user(name string) *User {
	return &User{Owner: c.owner, Name: name, Balance: c.rand.Int64N(200), Born: time.UnixMilli(1_700_000_000_000 + int64(c.made)).UTC()}
}

func (c *caller) create(ctx context.Context) error {
	u := c.user(c.name())
	if len(c.users) > 0 && c.rand.IntN(4) == 0 {
		u.Name = c.users[0].Name
	}
	err := c.store.Create(ctx, u)
	c.note("create", 0, err)
	if err != nil {
		return nil
	}
	c.users = append(c.users, *u)
	return c.find(ctx, *u)
}

func (c *caller) createAll(ctx context.Context) error {
	us := []*User{c.user(c.name()), c.user(c.name()), c.user(c.name())}
	if c.rand.IntN(3) == 0 {
		us[2].Name = c.users[0].Name // then none is inserted
	}
	err := c.store.CreateAll(ctx, us)
	c.note("create all", 0, err)
	if err != nil {
		return nil
	}
	for _, u := range us {
		c.users = append(c.users, *u)
		if err := c.find(ctx, *u); err != nil {
			return err
		}
	}
	return nil
}

func (c *caller) createNested(ctx context.Context) error {
	n, ok := c.store.(Nester)
	if !ok {
		return c.create(ctx)
	}
	first, second := c.user(c.name()), c.user(c.users[0].Name)
	err := n.CreateNested(ctx, first, second)
	c.note("nested", 0, err)
	if err != nil {
		return nil
	}
	c.users = append(c.users, *first)
	return c.find(ctx, *first)
}

// find makes sure that the key that the database gave is that of the row.
func (c *caller) find(ctx context.Context, want User) error {
	got, err := c.store.Find(ctx, want.ID)
	got.Born = got.Born.UTC()
	c.note("find", got.Balance, err)
	if err != nil || got != want {
		return fmt.Errorf("%+v is %+v: %w", want, got, err)
	}
	return nil
}

func (c *caller) note(what string, n int64, err error) {
	c.log = append(c.log, fmt.Sprint(what, " ", n, " ", kind(err)))
}

// kind is an error with the types that a program finds in it.
func kind(err error) string {
	if err == nil {
		return ""
	}
	var types []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		types = append(types, fmt.Sprintf("%T", e))
	}
	return err.Error() + " (" + strings.Join(types, " ") + ")"
}

// play runs the whole program on a side, and returns the answers and what it leaves, in an order that has no key in it.
func play(t *testing.T, s side, open func(t *testing.T, s side) (Store, *sql.DB)) (answers []string, rows []string) {
	ctx := t.Context()
	store, db := open(t, s)
	must(t, db, s.engine.Schema())
	shared := &User{Name: "shared", Born: time.UnixMilli(1_700_000_000_000).UTC()}
	require.NoError(t, store.Create(ctx, shared))
	callers := make([]*caller, goroutines)
	var all sync.WaitGroup
	for i := range callers {
		callers[i] = &caller{store: store, owner: int64(i + 1), shared: shared.ID, rand: rand.New(rand.NewPCG(*seed, uint64(i)))}
		all.Go(func() { assert.NoError(t, callers[i].run(ctx)) })
	}
	all.Wait()
	for _, c := range callers {
		answers = append(answers, c.log...)
	}
	found := map[int64]User{}
	got, err := db.Query("SELECT id, owner, name, balance, born FROM users ORDER BY owner, name")
	require.NoError(t, err)
	defer got.Close()
	for got.Next() {
		var u User
		require.NoError(t, got.Scan(&u.ID, &u.Owner, &u.Name, &u.Balance, &u.Born))
		u.Born = u.Born.UTC()
		found[u.ID] = u
		u.ID = 0
		rows = append(rows, fmt.Sprint(u))
	}
	require.NoError(t, got.Err())
	delete(found, shared.ID)
	for _, c := range callers {
		for _, u := range c.users {
			assert.Equal(t, u, found[u.ID])
			delete(found, u.ID)
		}
	}
	assert.Empty(t, found, "rows of which no caller knows")
	return answers, rows
}

func TestALibrarysAnswersAndRowsAreThoseOfThePlainDriver(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, e Engine) {
				plain, swapped := sides(t, e)
				wantAnswers, wantRows := play(t, plain, open)
				answers, rows := play(t, swapped, open)
				assert.Equal(t, wantAnswers, answers)
				assert.Equal(t, wantRows, rows)
			})
		})
	}
}
