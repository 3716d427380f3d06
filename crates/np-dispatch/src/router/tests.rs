//! Tests of the method table and of the methods that np brings along.

use std::sync::Arc;
use std::thread;

use np_types::{Codec, MethodName, MethodNameError};

use super::{MethodOptions, RegisterError, Router, Target};
use crate::testing::call;
use crate::{Health, HealthState, Reply, Schema, bytes};

fn text(router: &Router, method: &str, codec: Codec, body: &[u8]) -> Reply {
    call(&router.lookup(method).unwrap(), codec, body).unwrap()
}

#[test]
fn a_method_can_come_go_and_come_again() {
    let router = Router::new();
    assert!(router.lookup("greet").is_none());
    router.on("greet", |_ctx, _body| Ok("hello")).unwrap();
    assert_eq!(text(&router, "greet", Codec::Bytes, b""), "hello".into());

    let running = router.lookup("greet").unwrap();
    assert_eq!(router.remove("greet").unwrap().name.as_str(), "greet");
    assert!(router.lookup("greet").is_none());
    assert!(router.remove("greet").is_none());
    assert_eq!(call(&running, Codec::Bytes, b""), Ok("hello".into()));

    router.on("greet", |_ctx, _body| Ok("again")).unwrap();
    assert_eq!(text(&router, "greet", Codec::Bytes, b""), "again".into());
}

#[test]
fn registering_twice_is_an_error_and_keeps_the_first() {
    let router = Router::new();
    router.on("greet", |_ctx, _body| Ok("first")).unwrap();
    let taken = RegisterError::Taken(MethodName::new("greet").unwrap());
    assert_eq!(router.on("greet", |_ctx, _body| Ok("second")), Err(taken.clone()));
    let as_stream = router.on_stream("greet", |_ctx, _stream| async { Ok(()) });
    assert_eq!(as_stream, Err(taken));
    assert_eq!(text(&router, "greet", Codec::Bytes, b""), "first".into());
}

#[test]
fn the_names_of_np_are_reserved_even_where_they_are_not_used() {
    for router in [Router::new(), Router::with_builtins(Health::default())] {
        for name in ["np.echo", "np.mine"] {
            let reserved = RegisterError::Reserved(MethodName::new(name).unwrap());
            assert_eq!(router.on(name, |_ctx, _body| Ok(())), Err(reserved.clone()));
            let as_stream = router.on_stream(name, |_ctx, _stream| async { Ok(()) });
            assert_eq!(as_stream, Err(reserved));
        }
    }
    Router::new().on("npx", |_ctx, _body| Ok(())).unwrap();
}

#[test]
fn a_malformed_name_is_an_error_that_escapes_it() {
    let error = Router::new().on("a\u{1b}[2J", |_ctx, _body| Ok(())).unwrap_err();
    assert!(matches!(error, RegisterError::Name { error: MethodNameError::Character { at: 1 }, .. }));
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
}

#[test]
fn the_generation_moves_with_every_change_and_with_nothing_else() {
    let router = Router::new();
    let mut seen = vec![router.generation()];
    router.on("a", |_ctx, _body| Ok(())).unwrap();
    seen.push(router.generation());
    router.on_stream("b", |_ctx, _stream| async { Ok(()) }).unwrap();
    seen.push(router.generation());
    router.remove("a").unwrap();
    seen.push(router.generation());
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");

    let before = router.generation();
    router.remove("a");
    let _ = router.on_stream("b", |_ctx, _stream| async { Ok(()) });
    let _ = router.lookup("b");
    assert_eq!(router.generation(), before);
}

#[test]
fn clones_share_the_table() {
    let router = Router::new();
    let other = router.clone();
    other.on("a", |_ctx, _body| Ok(())).unwrap();
    assert_eq!(router.methods(), ["a"]);
    assert_eq!(router.generation(), other.generation());
}

#[test]
fn changes_from_many_threads_are_all_kept() {
    let router = Router::new();
    thread::scope(|scope| {
        for worker in 0..4 {
            let router = &router;
            scope.spawn(move || {
                for at in 0..25 {
                    let name = format!("m{worker}.{at:02}");
                    router.on(&name, |_ctx, _body| Ok(())).unwrap();
                    assert!(router.lookup(&name).is_some());
                }
            });
        }
    });
    assert_eq!(router.methods().len(), 100);
    assert_eq!(router.generation(), 100);
}

#[test]
fn every_form_of_closure_can_be_registered() {
    let router = Router::new();
    router.on("a", |_ctx, body| Ok(body)).unwrap();
    router.on_async("b", |_ctx, body| async move { Ok(body) }).unwrap();
    router.on_typed("c", |_ctx, n: u32| Ok(n)).unwrap();
    router.on_typed_async("d", |_ctx, n: u32| async move { Ok(n) }).unwrap();
    router.on_stream("e", |_ctx, _stream| async { Ok(()) }).unwrap();
    assert_eq!(router.methods(), ["a", "b", "c", "d", "e"]);
    for name in ["a", "b", "c", "d"] {
        let registered = router.lookup(name).unwrap();
        assert!(matches!(registered.target, Target::Unary(_)), "{name}");
        assert!(!registered.options.is_spawned());
    }
    let registered = router.lookup("e").unwrap();
    assert!(matches!(registered.target, Target::Stream(_)));
}

#[test]
fn options_reach_the_driver() {
    let router = Router::new();
    let target = Target::Unary(Arc::new(bytes(|_ctx, body| Ok(body))));
    let options = MethodOptions::default().spawned();
    router.register_target("slow", target, options).unwrap();
    assert!(router.lookup("slow").unwrap().options.is_spawned());
}

#[test]
fn echo_returns_body_and_codec() {
    let router = Router::with_builtins(Health::default());
    for codec in [Codec::Bytes, Codec::Postcard, Codec::Json, Codec::MessagePack] {
        let reply = text(&router, "np.echo", codec, b"\x00any\xff");
        assert_eq!((reply.codec, &reply.body[..]), (codec, &b"\x00any\xff"[..]));
    }
}

#[test]
fn methods_follow_the_table_in_text_and_postcard() {
    let router = Router::with_builtins(Health::default());
    router.on("zoo", |_ctx, _body| Ok(())).unwrap();
    let reply = text(&router, "np.methods", Codec::Bytes, b"");
    assert_eq!(reply, "np.echo\nnp.echo-stream\nnp.health\nnp.methods\nnp.once\nzoo".into());

    router.remove("zoo").unwrap();
    let reply = text(&router, "np.methods", Codec::Postcard, b"");
    assert_eq!(reply.codec, Codec::Postcard);
    let names: Vec<String> = reply.decode().unwrap();
    assert_eq!(names, ["np.echo", "np.echo-stream", "np.health", "np.methods", "np.once"]);
}

#[test]
fn health_says_what_the_server_set() {
    let health = Health::default();
    let router = Router::with_builtins(health.clone());
    assert_eq!(text(&router, "np.health", Codec::Bytes, b""), "ok".into());
    health.set(HealthState::Draining);
    assert_eq!(text(&router, "np.health", Codec::Other(9), b""), "draining".into());
    let typed = text(&router, "np.health", Codec::Postcard, b"");
    assert_eq!(typed.decode::<String>(), Ok("draining".to_owned()));
    health.set(HealthState::Ok);
    assert_eq!(health.state(), HealthState::Ok);
}

#[test]
fn a_builtin_can_be_taken_out() {
    let router = Router::with_builtins(Health::default());
    assert!(router.remove("np.methods").is_some());
    assert_eq!(router.methods(), ["np.echo", "np.echo-stream", "np.health", "np.once"]);
}

#[test]
fn a_dropped_router_is_freed_though_its_table_refers_to_it() {
    let kept = Arc::new(());
    let watch = Arc::downgrade(&kept);
    let router = Router::with_builtins(Health::default());
    let hold = move |_ctx, _body| {
        let _ = &kept;
        Ok(())
    };
    router.on("hold", hold).unwrap();
    drop(router);
    assert!(watch.upgrade().is_none());
}

#[test]
fn methods_shows_the_fingerprints_of_schemas() {
    let router = Router::with_builtins(Health::default());
    let options = MethodOptions::default().schema("orders/3");
    let target = Target::Unary(Arc::new(bytes(|_ctx, body| Ok(body))));
    router.register_target("orders", target, options).unwrap();
    let line = format!("orders {}", Schema::of("orders/3"));
    let names = Router::with_builtins(Health::default()).methods();
    let expected: Vec<_> = names.into_iter().chain([line]).collect();
    assert_eq!(text(&router, "np.methods", Codec::Bytes, b""), expected.join("\n").into());
    let listed = text(&router, "np.methods", Codec::Postcard, b"").decode::<Vec<String>>().unwrap();
    assert_eq!(listed, expected);
    #[cfg(feature = "json")]
    {
        let listed = text(&router, "np.methods", Codec::Json, b"").decode::<Vec<String>>().unwrap();
        assert_eq!(listed, expected);
    }
    assert_eq!(router.methods().last().unwrap(), "orders");
}

#[test]
fn status_is_for_those_who_may_have_it() {
    let router = Router::new();
    let is_open = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let open = Arc::clone(&is_open);
    let pairs = || vec![("connections".to_owned(), "7".to_owned()), ("calls".to_owned(), "0".to_owned())];
    router.offer_status(move |_| open.load(std::sync::atomic::Ordering::Relaxed), pairs).unwrap();
    assert_eq!(text(&router, "np.status", Codec::Bytes, b""), "connections 7\ncalls 0".into());
    let typed: Vec<(String, String)> = text(&router, "np.status", Codec::Postcard, b"").decode().unwrap();
    assert_eq!(typed[0], ("connections".to_owned(), "7".to_owned()));
    is_open.store(false, std::sync::atomic::Ordering::Relaxed);
    let refused = call(&router.lookup("np.status").unwrap(), Codec::Bytes, b"").unwrap_err();
    assert_eq!(refused.status, np_types::Status::PermissionDenied);
    assert!(matches!(router.offer_status(|_| true, Vec::new), Err(RegisterError::Taken(_))));
}
