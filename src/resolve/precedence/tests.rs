use super::*;
use crate::resolve::{Reach, Route};

const MODES: [Option<GatewayMode>; 4] =
    [None, Some(GatewayMode::None), Some(GatewayMode::Local), Some(GatewayMode::Remote)];

/// Every way to set the seven rungs: 4^7 = 16,384.
fn every_combination() -> impl Iterator<Item = Sources> {
    (0..MODES.len().pow(7)).map(|mut number| {
        LADDER.into_iter().fold(Sources::default(), |sources, rung| {
            let mode = MODES[number % MODES.len()];
            number /= MODES.len();
            sources.with(rung, mode)
        })
    })
}

/// The rule in its most literal form, written without the ladder: later lines overwrite earlier ones.
fn overwritten(s: &Sources) -> Option<GatewayMode> {
    let mut mode = None;
    for set in [
        s.get(Rung::OpaqueProxyDefaults),
        s.get(Rung::ProxyDefaults),
        s.get(Rung::ServiceDefaults),
        s.get(Rung::UpstreamDefaults),
        s.get(Rung::Instance),
        s.get(Rung::UpstreamOverride),
        s.get(Rung::Upstream),
    ] {
        if set.is_some() {
            mode = set;
        }
    }
    mode
}

#[test]
fn the_strongest_rung_that_is_set_wins() {
    let mut seen = 0;
    for sources in every_combination() {
        let ladder = sources.climb();

        assert_eq!(ladder.mode(), overwritten(&sources), "{sources:?}");
        assert_eq!(ladder.sources, sources);
        seen += 1;
    }
    assert_eq!(seen, 16_384);
}

/// The four documented levels, strongest first, and what each pair of them gives.
#[test]
fn the_four_documented_levels() {
    const LEVELS: [Rung; 4] = [Rung::Upstream, Rung::Instance, Rung::ServiceDefaults, Rung::ProxyDefaults];
    for (position, stronger) in LEVELS.into_iter().enumerate() {
        for weaker in LEVELS.into_iter().skip(position + 1) {
            let both =
                Sources::default().with(weaker, Some(GatewayMode::Remote)).with(stronger, Some(GatewayMode::Local));

            assert_eq!(both.climb().winner, Some(stronger), "{stronger} over {weaker}");
        }
    }
}

#[test]
fn overrides_beat_the_instance_and_defaults_lose_to_it() {
    let instance = Sources::default().with(Rung::Instance, Some(GatewayMode::Local));

    assert_eq!(instance.with(Rung::UpstreamOverride, Some(GatewayMode::None)).climb().mode(), Some(GatewayMode::None));
    assert_eq!(instance.with(Rung::UpstreamDefaults, Some(GatewayMode::None)).climb().mode(), Some(GatewayMode::Local));
}

#[test]
fn the_target_decides_only_where_the_caller_is_silent() {
    for caller in MODES {
        for service_defaults in MODES {
            for proxy_defaults in MODES {
                for is_external in [false, true] {
                    let ladder = Sources::default().with(Rung::Instance, caller).climb();
                    let target = TargetSources { is_external, service_defaults, proxy_defaults };

                    let decision = target.decide(ladder);

                    let own = service_defaults.or(proxy_defaults);
                    let expected = if is_external { None } else { caller.or(own) };
                    assert_eq!(decision.mode, expected, "{target:?} {caller:?}");
                    let changed = !is_external && caller.is_some() && caller != own;
                    assert_eq!(decision.customises, changed, "{target:?} {caller:?}");
                }
            }
        }
    }
}

/// The table of contract 2.5, as an operator reads it.
#[test]
fn what_a_mode_means_for_each_reach() {
    use GatewayMode::{Local, None as Direct, Remote};
    const D: Route = Route::Direct;
    const L: Route = Route::LocalGateways;
    const R: Route = Route::RemoteGateways;
    //                          unset none local remote
    let table = [
        (Reach::SamePlace, [D, D, D, D]),
        (Reach::OtherDatacenter, [D, D, L, R]),
        (Reach::OtherPartition, [D, D, L, R]),
        (Reach::Peer, [R, R, L, R]),
        (Reach::External, [D, D, D, D]),
    ];
    for (reach, expected) in table {
        let routes = [None, Some(Direct), Some(Local), Some(Remote)].map(|mode| reach.route(mode));
        assert_eq!(routes, expected, "{reach:?}");
    }
}

/// Every combination of the sources, at every reach: the way is that of the winner's mode.
#[test]
fn every_combination_at_every_reach() {
    const REACHES: [Reach; 5] =
        [Reach::SamePlace, Reach::OtherDatacenter, Reach::OtherPartition, Reach::Peer, Reach::External];
    for sources in every_combination() {
        for reach in REACHES {
            let target = TargetSources { is_external: reach == Reach::External, ..TargetSources::default() };
            let mode = overwritten(&sources);

            let route = reach.route(target.decide(sources.climb()).mode);

            let expected = match reach {
                Reach::SamePlace | Reach::External => Route::Direct,
                Reach::OtherDatacenter | Reach::OtherPartition | Reach::Peer => match mode {
                    Some(GatewayMode::Local) => Route::LocalGateways,
                    Some(GatewayMode::Remote) => Route::RemoteGateways,
                    None | Some(GatewayMode::None) if reach == Reach::Peer => Route::RemoteGateways,
                    None | Some(GatewayMode::None) => Route::Direct,
                },
            };
            assert_eq!(route, expected, "{reach:?} {sources:?}");
        }
    }
}
