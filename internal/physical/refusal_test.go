package physical

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// limited is a server that has room for so many connections.
func limited(room *atomic.Int64) *server {
	s := new(server)
	s.connect = func(context.Context) error {
		if s.live() >= room.Load() {
			return errNoRoom
		}
		return nil
	}
	return s
}

func roomFor(n int64) *atomic.Int64 {
	room := new(atomic.Int64)
	room.Store(n)
	return room
}

func TestWhereTheServerHasNoRoomABorrowerWaitsForAConnectionThatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(roomFor(3))
		p := s.seated(t, 100)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				l, err := p.Borrow(context.Background(), Use{})
				if assert.NoError(t, err) {
					time.Sleep(time.Second)
					l.GiveBack(false)
				}
			})
		}
		all.Wait()
		assert.EqualValues(t, 3, s.opened.Load())
	})
}

func TestWhereNoneIsOpenTheBorrowerGetsTheServersRefusal(t *testing.T) {
	p := limited(roomFor(0)).seated(t, 3)
	_, err := p.Borrow(t.Context(), Use{})
	assert.Same(t, errNoRoom, err)
}

func TestARefusalIsTakenForTrueForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := roomFor(1)
		s := limited(room)
		p := s.seated(t, 5)
		holder := take(t, p, false)
		var waiting []*borrower
		for range 3 {
			waiting = append(waiting, borrowing(p, t.Context(), Use{}))
		}
		room.Store(3)
		time.Sleep(tryAgain / 2)
		assert.EqualValues(t, 1, s.opened.Load())
		time.Sleep(tryAgain)
		synctest.Wait()
		assert.EqualValues(t, 3, s.opened.Load(), "the second is opened in time, and the third at once when there was room for that")
		holder.GiveBack(false)
		for _, b := range waiting {
			b.giveBack()
			assert.NoError(t, b.err)
		}
		time.Sleep(3 * tryAgain)
		room.Store(5)
		var more []Lease
		for range 5 {
			more = append(more, take(t, p, false))
		}
		for _, l := range more {
			l.GiveBack(false)
		}
	})
}

func TestThereIsRoomForWhatTheProgramAndTheServerAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := roomFor(3)
		s := limited(room)
		assert.Equal(t, 7, s.pool(t, 7).Room())
		p := s.seated(t, 10)
		assert.Equal(t, unbounded, p.Room())
		db := sql.OpenDB(s)
		defer db.Close()
		p.Learn(db)
		assert.Equal(t, unbounded, p.Room())
		db.SetMaxOpenConns(5)
		assert.Equal(t, 5, p.Room())
		var holders []Lease
		for range 3 {
			holders = append(holders, take(t, p, false))
		}
		waiting := borrowing(p, t.Context(), Use{})
		assert.Equal(t, 3, p.Room())
		for _, l := range holders {
			l.GiveBack(false)
		}
		waiting.giveBack()
		time.Sleep(2 * tryAgain)
		assert.Equal(t, 5, p.Room(), "a refusal is forgotten")
	})
}

func TestAPoolCountsTheSeatsThatKeepAConnection(t *testing.T) {
	p := new(server).pool(t, 2)
	p.Kept()
	seats := sit(p, 3)
	keeping := func() (n int) {
		for s := p.seats.first; s != nil; s = s.next {
			if s.kept != nil {
				n++
			}
		}
		require.Equal(t, n, p.seats.keeping)
		return n
	}
	var leases []Lease
	for _, s := range seats[:2] {
		l, err := p.Borrow(t.Context(), Use{Seat: s})
		require.NoError(t, err)
		leases = append(leases, l)
		require.True(t, p.Keep(s, l))
	}
	require.Equal(t, 2, keeping())
	p.Keep(seats[1], leases[1])
	require.Equal(t, 2, keeping())
	l, err := p.Borrow(t.Context(), Use{Seat: seats[2]})
	require.NoError(t, err)
	require.Equal(t, 1, keeping(), "the oldest one's connection was taken away")
	require.False(t, p.StillKept(seats[0]))
	require.True(t, p.StillKept(seats[1]))
	require.Zero(t, keeping())
	require.True(t, p.Keep(seats[1], leases[1]))
	p.Leave(seats[1])
	p.Leave(seats[1])
	require.Zero(t, keeping())
	leases[1].GiveBack(false)
	l.GiveBack(false)
}

// Those that have the connections may be waiting for those that wait.
func TestWhereNoConnectionComesBackTheServersRefusalIsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := limited(roomFor(1)).seated(t, 5)
		holder := take(t, p, false)
		start := time.Now()
		_, err := p.Borrow(context.Background(), Use{})
		assert.Same(t, errNoRoom, err)
		assert.Equal(t, standstill, time.Since(start))
		holder.GiveBack(false)
	})
}

func TestAServerThatIsFullLeavesAConnectionToGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := limited(roomFor(4)).seated(t, 20)
		var blocked []*borrower
		for range 4 {
			blocked = append(blocked, borrowing(p, t.Context(), Use{For: PutOff}))
		}
		refused := borrowing(p, t.Context(), Use{For: PutOff})
		blocked[0].giveBack()
		assert.False(t, refused.has.Load(), "three calls that were put off have the four connections")
		take(t, p, true).GiveBack(true)
		for _, b := range blocked[1:] {
			b.giveBack()
		}
		refused.giveBack()
	})
}
