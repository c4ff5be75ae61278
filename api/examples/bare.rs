//! A bare actix-web server with one route and a fixed body: what the server's own routes are measured against
//! (`bench/run-api.sh`). Prints its address, and ends with standard input.

use actix_web::{App, HttpResponse, HttpServer, web};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let body = std::env::args().nth(1).unwrap_or_else(|| "{}".to_owned());
    let server = HttpServer::new(move || {
        let body = web::Bytes::from(body.clone());
        let answer = move || {
            let body = body.clone();
            async move { HttpResponse::Ok().content_type("application/json").body(body) }
        };
        App::new().route("/quotes/{symbol}", web::get().to(answer))
    });
    let server = server.workers(2).bind(("127.0.0.1", 0))?;
    println!("{}", server.addrs()[0]);
    let server = server.disable_signals().run();
    let handle = server.handle();
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
        actix_web::rt::System::new().block_on(handle.stop(false));
    });
    server.await
}
