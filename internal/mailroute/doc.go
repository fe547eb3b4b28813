// SPDX-License-Identifier: Apache-2.0

// Package mailroute is what a route looks like in the configuration: the JSON
// of its steps and matchers, the Caddyfile lines they are read from, and how
// they are loaded. The app and every handler that has a route inside share it.
//
// # In the Caddyfile
//
// A route is a block with one handler on each line. Names of matchers stand
// right behind the handler's name; one of them has to hold:
//
//	inbound {
//		@vip from *.bigcustomer.com
//		tag @vip priority high
//		reject @spam @worm 550 5.7.1 "No, thank you"
//		handle @vip {
//			hold "wait for Anna"
//		}
//	}
//
// Named matchers share one space of names in the whole mail block, wherever
// they stand; [Definitions] collects them, and knows where each was used. In
// a definition all matchers must hold:
//
//	@big {
//		size >10MiB
//		not remote_ip private_ranges
//	}
//
// # In the life of a configuration
//
//  1. UnmarshalCaddyfile: [ParseSteps] and [Definitions.Parse] read the lines;
//     [Definitions.Merge] takes over what a nested route defined;
//     [Definitions.Check] and [Definitions.Sets] end it.
//  2. Provision: [LoadMatchers] and [LoadSteps] load the modules.
//  3. When the services are known: [UseServices] on the matchers, then
//     [Compile] on each route.
package mailroute
