// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var listTests = map[string]func(*storeTest){
	"deliveries are listed newest first":             testListOrder,
	"each filter narrows":                            testListFilters,
	"pages follow each other":                        testListPages,
	"depth counts the deliveries in each state":      testDepth,
	"a list of nothing is no error":                  func(t *storeTest) { t.same("list", t.list(mailflow.QueueQuery{}), []mailflow.Queued{}) },
	"deliveries come with what is known of the mail": testListMessage,
}

func testListOrder(t *storeTest) {
	var want []string
	for range 3 {
		want = append(want, ids(t.add(mailflow.StateQueued, mailflow.StateSent).Deliveries)...)
	}
	slices.Reverse(want)
	t.same("all", queuedIDs(t.list(mailflow.QueueQuery{})), want)
	t.same("limit", queuedIDs(t.list(mailflow.QueueQuery{Limit: 2})), want[:2])
}

func testListFilters(t *storeTest) {
	first := t.add(mailflow.States...)
	second := t.decision(mailflow.States...)
	for i := range second.Deliveries {
		second.Deliveries[i].Server = "second"
	}
	t.commit(second)
	for i, st := range mailflow.States {
		a, b := first.Deliveries[i].ID, second.Deliveries[i].ID
		t.same(string(st), queuedIDs(t.list(mailflow.QueueQuery{States: []mailflow.State{st}})), []string{b, a})
		t.same(string(st)+" by server", queuedIDs(t.list(mailflow.QueueQuery{States: []mailflow.State{st}, Server: "second"})), []string{b})
		t.same(string(st)+" by message", queuedIDs(t.list(mailflow.QueueQuery{States: []mailflow.State{st}, Message: first.Message.ID})), []string{a})
		t.same("by ID", queuedIDs(t.list(mailflow.QueueQuery{ID: a})), []string{a})
		t.same("by ID and server", queuedIDs(t.list(mailflow.QueueQuery{ID: a, Server: "second"})), []string{})
	}
	want := ids(second.Deliveries)
	slices.Reverse(want)
	t.same("by message", queuedIDs(t.list(mailflow.QueueQuery{Message: second.Message.ID})), want)
	t.same("by server", queuedIDs(t.list(mailflow.QueueQuery{Server: "second"})), want)
	t.same("by all states", queuedIDs(t.list(mailflow.QueueQuery{Server: "second", States: mailflow.States})), want)
	t.same("by two states", queuedIDs(t.list(mailflow.QueueQuery{
		Server: "second", States: []mailflow.State{mailflow.StateSent, mailflow.StateQueued},
	})), []string{second.Deliveries[3].ID, second.Deliveries[0].ID})
	t.same("by no server of ours", queuedIDs(t.list(mailflow.QueueQuery{Server: "none"})), []string{})
	t.same("by a state that is never stored", queuedIDs(t.list(mailflow.QueueQuery{States: []mailflow.State{mailflow.StateSending}})), []string{})
}

func testListPages(t *storeTest) {
	var want []string
	for i := range 10 {
		st := mailflow.StateQueued
		if i%3 == 0 {
			st = mailflow.StateSent
		}
		want = append(want, t.add(st).Deliveries[0].ID)
	}
	slices.Reverse(want)
	q := mailflow.QueueQuery{Limit: 4}
	var got []string
	for range len(want) {
		page := queuedIDs(t.list(q))
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		q.Before = page[len(page)-1]
	}
	t.same("pages", got, want)
	t.same("page of one state", queuedIDs(t.list(mailflow.QueueQuery{
		States: []mailflow.State{mailflow.StateSent}, Before: want[0], Limit: 2,
	})), []string{want[3], want[6]})
}

func testListMessage(t *storeTest) {
	d := t.decision(mailflow.StateSent)
	d.Message = t.fullMessage()
	d.Deliveries[0].Message = d.Message.ID
	t.commit(d)
	t.same("queued", t.stored(d.Deliveries[0].ID), mailflow.Queued{
		Delivery: d.Deliveries[0], From: d.Message.From, Subject: d.Message.Subject, Bytes: d.Message.Size,
	})
}

func testDepth(t *storeTest) {
	t.depth(nil)
	want := make(map[mailflow.State]int)
	for i, st := range mailflow.States {
		for range i + 1 {
			t.add(st)
			want[st]++
		}
	}
	t.depth(want)
	d := t.claimWith(mailflow.Claim{Destination: "lane", DueBy: t.now, Limit: 1})[0]
	t.depth(want)
	want[d.State]--
	d.State, d.Due = mailflow.StateDeferred, t.now.Add(time.Hour)
	want[d.State]++
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}})
	t.depth(want)
}
